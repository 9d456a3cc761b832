"""The adding problem."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.tasks.base import Criterion, Facts, RegressionTask
from rnnstudy.tasks.marked_pair import MarkedPairTask


@dataclass(frozen=True, kw_only=True)
class Adding(MarkedPairTask, RegressionTask):
    """Add the two marked values; answer at the end.

    Example: values .3 .9 .5 .1, markers 0 1 1 0 -> 1.4
    >>> values = torch.tensor([.3, .9, .5, .1])
    >>> markers = torch.tensor([0., 1., 1., 0.])
    >>> batch = Adding(seq_len=4).pose(torch.stack([values, markers], dim=-1)[:, None])
    >>> round(float(batch.targets), 6)
    1.4

    Three published definitions share this name; in all of them, batches are drawn fresh:

    half (the common one): values uniform in [0, 1], a marker in each half (the first has seq_len // 2 steps), target
    x1 + x2. Always answering 1 costs the variance, 1/6 (several papers print 0.1767). Solved here: mean squared error
    at most 0.01; the papers show curves and name no criterion.
    hochreiter: values uniform in [-1, 1], target 0.5 + (x1 + x2)/4, correct if the error is below 0.04. The first
    marker is in the first ten steps, the second among the first seq_len // 2 - 1 other steps; unmarked ends have the
    marker -1. A marked very first step has the value 0, so the target's variance, the loss of always answering 0.5, is
    slightly below 1/24 and depends on the length. Solved: 99 % correct; the paper stops at 2 000 correct sequences in a
    row. Its lengths are random in [T, 1.1 T]: seq_len=[100,110].
    pascanu: values uniform in [0, 1], a marker in the first tenth and one in the next four tenths (both rounded down),
    target the mean, correct if the *squared* error is below 0.04: always answering 0.5 is correct in 64 % of cases.
    Solved: 99 % correct. Its lengths are random in [T, 1.1 T).

    References:
        Hochreiter & Schmidhuber, Long short-term memory, 1997, section 5.4: the task, and `hochreiter`.
        Arjovsky, Shah & Bengio, Unitary evolution recurrent neural networks, 2016 (arXiv:1511.06464), section 5:
        `half`.
        Pascanu, Mikolov & Bengio, 2013 (arXiv:1211.5063), supplementary material and the authors' code: `pascanu`.

    Args:
        seq_len: Time steps, at least 2 (half), 11 (hochreiter) or 10 (pascanu).
        variant: Published definition to build.
    """

    neutral: ClassVar[float] = 0.0

    @property
    @override
    def facts(self) -> Facts:
        loss = self._chance_loss()
        threshold = Criterion(metric="accuracy", threshold=0.99, direction="at_least")
        if self.variant == "half":
            threshold = Criterion(metric="answer_loss", threshold=0.01, direction="at_most")
        return Facts(
            seq_len=self.seq_len,
            encoding="features",
            input_names=("value", "marker"),
            output_names=({"half": "sum", "hochreiter": "0.5 + sum / 4", "pascanu": "mean"}[self.variant],),
            chance_loss=loss,
            chance_accuracy=self._chance_accuracy(),
            # If the last value is marked, it is seen: only the variance of the other remains.
            memoryless_loss=loss - self.last_share / 12,
            solved=threshold,
            informative_steps=self.informative_steps,
        )

    def _chance_loss(self) -> float:
        """Return the variance of the target."""
        if self.variant == "hochreiter":
            # Each value has the variance 1/3; one that is neutral has none.
            return (2 - self.neutral_share) / 3 / 16
        return 1 / 24 if self.variant == "pascanu" else 1 / 6

    def _chance_accuracy(self) -> float:
        """Return how often the mean is within the tolerance."""
        if self.variant == "hochreiter":
            bound = 4 * self.tolerance
            return (1 - self.neutral_share) * (bound - bound**2 / 4) + self.neutral_share * bound
        bound = 2 * self.tolerance if self.variant == "pascanu" else self.tolerance
        return 2 * bound - bound**2

    @override
    def draw_values(self, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "time batch"]:
        values = torch.rand(shape, generator=generator)
        return 2 * values - 1 if self.variant == "hochreiter" else values

    @override
    def combine(self, one: Float[Tensor, " batch"], other: Float[Tensor, " batch"]) -> Float[Tensor, "batch 1"]:
        total = (one + other)[:, None]
        if self.variant == "hochreiter":
            return 0.5 + total / 4
        return total / 2 if self.variant == "pascanu" else total
