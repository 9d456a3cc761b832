"""Schedules of the learning rate: a factor for every step, after an optional warm-up."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from rnnstudy.core.errors import require_at_least


@dataclass(frozen=True, kw_only=True)
class LearningRateSchedule(ABC):
    """Factor by which the optimizer's learning rate is multiplied at a step.

    During the warm-up it rises in a straight line: (step + 1) / warmup_steps times the start of `decay`. The factor
    depends on the step alone, so a resumed run continues exactly, and is the same for all replicas.

    Args:
        warmup_steps: Optimizer steps of the warm-up; 0 for none.
    """

    off: ClassVar[dict[str, Any]]
    """Arguments that leave the learning rate alone: a run with them equals one without the schedule, bit for bit."""

    felt: ClassVar[dict[str, Any]]
    """Arguments that change the weights within a few steps of any small run."""

    warmup_steps: int = 0

    def __post_init__(self) -> None:
        require_at_least("warmup_steps", self.warmup_steps, 0)

    def factor(self, step: int, num_steps: int) -> float:
        """Return the factor, from 0 to 1, after `step` optimizer steps of a run of at most `num_steps`."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps * self.decay(0, max(1, num_steps - self.warmup_steps))
        return self.decay(step - self.warmup_steps, max(1, num_steps - self.warmup_steps))

    @abstractmethod
    def decay(self, step: int, num_steps: int) -> float:
        """Return the factor `step` optimizer steps after the warm-up, of `num_steps` (at least 1); 1 at step 0."""
