"""The parity problem."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_size
from rnnstudy.tasks.base import Batch, ClassificationTask, Facts, SyntheticTask, ask_at_end


@dataclass(frozen=True, kw_only=True)
class Parity(SyntheticTask, ClassificationTask):
    """Tell at the end whether the number of ones was odd.

    Example: 1 0 1 0 1 0 0 -> 3 ones -> odd
    >>> task = Parity(seq_len=7)
    >>> batch = task.pose(torch.tensor([1, 0, 1, 0, 1, 0, 0])[:, None])
    >>> task.facts.output_names[int(batch.targets)]
    'odd'

    Every bit decides: flipping any one of them flips the answer, so the gradient must arrive at every time step.
    Solved: 99 % correct. Batches are drawn fresh.

    References:
        Bengio, Simard & Frasconi, Learning long-term dependencies with gradient descent is difficult, 1994: parity.
        Hochreiter & Schmidhuber, Bridging long time lags by weight guessing and "long short-term memory", 1996.
        Delétang et al., 2023 (arXiv:2207.02098), parity check: trained on lengths up to 40, judged on lengths up to
        500; here seq_len=[1,40] and eval.seq_lens=[100,500].

    Args:
        seq_len: Bits, at least 1.
    """

    seq_len: int = 20

    def __post_init__(self) -> None:
        require_size("seq_len", self.seq_len, 1)

    @property
    @override
    def facts(self) -> Facts:
        # A single bit is its own parity, and is seen.
        alone = self.seq_len == 1
        return Facts(
            seq_len=self.seq_len,
            encoding="symbols",
            input_names=("0", "1"),
            output_names=("even", "odd"),
            chance_loss=math.log(2),
            chance_accuracy=0.5,
            memoryless_loss=0.0 if alone else math.log(2),
            informative_steps=tuple(range(self.seq_len)),
        )

    @override
    def draw(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "time batch"]:
        return torch.randint(2, (self.seq_len, batch_size), generator=generator)

    @override
    def pose(self, inputs: Int[Tensor, "time batch"]) -> Batch:
        return ask_at_end(inputs, inputs.sum(0) % 2, torch.ones(len(inputs), dtype=torch.bool))
