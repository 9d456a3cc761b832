"""The XOR problem."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.tasks.base import ClassificationTask, Facts
from rnnstudy.tasks.marked_pair import MarkedPairTask


@dataclass(frozen=True, kw_only=True)
class Xor(MarkedPairTask, ClassificationTask):
    """Tell at the end whether the two marked bits differ.

    Example: bits 0 1 1 0, markers 1 0 1 0 -> 0 and 1 -> different
    >>> bits, markers = torch.tensor([0., 1., 1., 0.]), torch.tensor([1., 0., 1., 0.])
    >>> task = Xor(seq_len=4)
    >>> batch = task.pose(torch.stack([bits, markers], dim=-1)[:, None])
    >>> task.facts.output_names[int(batch.targets)]
    'different'

    One bit alone carries no information, so no half of the task can be learnt first. The variant places the markers, as
    in `adding` (hochreiter: a marked very first step has the bit 0). Two classes and cross entropy replace the paper's
    one value. Solved: 99 % correct (Pascanu et al. ask for less than 1 % wrong). Batches are drawn fresh.

    References:
        Martens & Sutskever, Learning recurrent neural networks with Hessian-free optimization, 2011, section 4.1: XOR.
        Hochreiter & Schmidhuber, 1997, section 5.4, and Pascanu et al., 2013 (arXiv:1211.5063): where the markers are.

    Args:
        seq_len: Time steps, at least 2 (half), 11 (hochreiter) or 10 (pascanu).
        variant: Adding problem whose marker places are used.
    """

    neutral: ClassVar[float] = 0.0

    @property
    @override
    def facts(self) -> Facts:
        return Facts(
            seq_len=self.seq_len,
            encoding="features",
            input_names=("bit", "marker"),
            output_names=("same", "different"),
            chance_loss=math.log(2),
            chance_accuracy=0.5,
            memoryless_loss=math.log(2),
            informative_steps=self.informative_steps,
        )

    @override
    def draw_values(self, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "time batch"]:
        return torch.randint(2, shape, generator=generator).to(torch.get_default_dtype())

    @override
    def combine(self, one: Float[Tensor, " batch"], other: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        return (one != other).long()
