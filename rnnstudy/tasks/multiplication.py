"""The multiplication problem."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.tasks.base import Facts, RegressionTask
from rnnstudy.tasks.marked_pair import MarkedPairTask


@dataclass(frozen=True, kw_only=True)
class Multiplication(MarkedPairTask, RegressionTask):
    """Multiply the two marked values; answer at the end.

    Example: values .3 .9 .5 .1, markers 0 1 1 0 -> 0.45
    >>> values = torch.tensor([.3, .9, .5, .1])
    >>> markers = torch.tensor([0., 1., 1., 0.])
    >>> batch = Multiplication(seq_len=4).pose(torch.stack([values, markers], dim=-1)[:, None])
    >>> round(float(batch.targets), 6)
    0.45

    Values are uniform in [0, 1]. The variants differ in the places of the markers (as in `adding`) and in what is
    correct: an error below 0.04 (half, hochreiter) or a squared error below 0.04 (pascanu). Always answering 1/4 costs
    the variance, 7/144; more in hochreiter, where a marked very first step has the value 1. Solved: 99 % correct; the
    1997 paper counts fewer than 13 wrong among the 2 000 most recent training sequences. Batches are drawn fresh.

    References:
        Hochreiter & Schmidhuber, Long short-term memory, 1997, section 5.5: the task, and `hochreiter`.
        Pascanu, Mikolov & Bengio, 2013 (arXiv:1211.5063), supplementary material and the authors' code: `pascanu`.
        Arjovsky et al., 2016 (arXiv:1511.06464): the common adding problem, whose markers `half` has.

    Args:
        seq_len: Time steps, at least 2 (half), 11 (hochreiter) or 10 (pascanu).
        variant: Published definition to build.
    """

    neutral: ClassVar[float] = 1.0

    @property
    @override
    def facts(self) -> Facts:
        neutral = self.neutral_share
        # Mean and mean square of the product (of the one remaining value where the other is 1).
        mean = (1 - neutral) / 4 + neutral / 2
        loss = (1 - neutral) / 9 + neutral / 3 - mean**2
        # Small products are the most frequent: most answers lie around a guess of one tolerance.
        width = 2 * self.tolerance
        accuracy = (1 - neutral) * _product_below(width) + neutral * width
        return Facts(
            seq_len=self.seq_len,
            encoding="features",
            input_names=("value", "marker"),
            output_names=("product",),
            chance_loss=loss,
            chance_accuracy=accuracy,
            # If the last value is marked, it is seen: its square times the variance of the other remains.
            memoryless_loss=loss + self.last_share * (1 / 36 - 7 / 144),
            informative_steps=self.informative_steps,
        )

    @override
    def draw_values(self, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "time batch"]:
        return torch.rand(shape, generator=generator)

    @override
    def combine(self, one: Float[Tensor, " batch"], other: Float[Tensor, " batch"]) -> Float[Tensor, "batch 1"]:
        return (one * other)[:, None]


def _product_below(bound: float) -> float:
    """Return the probability that the product of two values uniform in [0, 1] is below `bound`, between 0 and 1."""
    return bound - bound * math.log(bound)
