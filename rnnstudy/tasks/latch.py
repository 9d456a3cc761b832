"""The latch, or two-sequence, problem."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, require_above, require_between, require_size
from rnnstudy.tasks.base import Batch, ClassificationTask, Facts, SyntheticTask, ask_at_end


@dataclass(frozen=True, kw_only=True)
class Latch(SyntheticTask, ClassificationTask):
    """The first inputs are all +1 or all -1, the rest is noise; tell at the end which it was: one bit to hold.

    Example (2 class steps): +1 +1 .3 -.5 .1 -> +1
    >>> task = Latch(seq_len=5, class_steps=2)
    >>> batch = task.pose(torch.tensor([1, 1, .3, -.5, .1])[:, None, None])
    >>> task.facts.output_names[int(batch.targets)]
    '+1'

    The noise is Gaussian with mean 0 and *variance* 0.2. Two classes and cross entropy replace the papers' one value.
    This is experiment 3a of the 1997 paper; 3b adds noise to the first inputs too, and 3c has noisy targets. Its
    lengths are random in [T, 1.1 T]: seq_len=[100,110]. Solved: 99 % correct. Batches are drawn fresh.

    References:
        Bengio, Simard & Frasconi, Learning long-term dependencies with gradient descent is difficult, 1994: the task.
        Hochreiter & Schmidhuber, Long short-term memory, 1997, section 5.3, task 3a: this variant.

    Args:
        seq_len: Time steps, more than class_steps.
        class_steps: Time steps at the start that show the class, at least 1.
        noise_variance: Variance of the other inputs, above 0.
    """

    seq_len: int = 100
    class_steps: int = 3
    noise_variance: float = 0.2

    def __post_init__(self) -> None:
        require_size("class_steps", self.class_steps, 1)
        require_size("seq_len", self.seq_len, 2)
        if self.seq_len <= self.class_steps:
            raise ConfigError(f"seq_len must be above class_steps, {self.class_steps}, got {self.seq_len}.")
        require_above("noise_variance", self.noise_variance, 0)
        require_between("noise_variance", self.noise_variance, 0, 1e6)

    @property
    @override
    def facts(self) -> Facts:
        return Facts(
            seq_len=self.seq_len,
            encoding="features",
            input_names=("value",),
            output_names=("-1", "+1"),
            chance_loss=math.log(2),
            chance_accuracy=0.5,
            memoryless_loss=math.log(2),
            informative_steps=tuple(range(self.class_steps)),
        )

    @override
    def draw(self, batch_size: int, generator: torch.Generator) -> Float[Tensor, "time batch 1"]:
        inputs = torch.randn(self.seq_len, batch_size, 1, generator=generator).mul_(math.sqrt(self.noise_variance))
        inputs[: self.class_steps] = 2 * torch.randint(2, (batch_size, 1), generator=generator) - 1
        return inputs

    @override
    def pose(self, inputs: Float[Tensor, "time batch 1"]) -> Batch:
        return ask_at_end(inputs, (inputs[0, :, 0] > 0).long(), torch.arange(len(inputs)) < self.class_steps)
