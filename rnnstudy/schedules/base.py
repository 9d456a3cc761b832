"""What a schedule of the learning rate is: a factor for every step, after an optional warm-up."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from rnnstudy.core.errors import require_at_least


@dataclass(frozen=True, kw_only=True)
class LearningRateSchedule(ABC):
    """The factor by which the optimizer's learning rate is multiplied at a step.

    While warming up it rises in a straight line: (step + 1) / warmup_steps times what `decay` gives at its start. The
    factor depends on the step alone, so that a resumed run goes on exactly, and is the same for all replicas.

    Args:
        warmup_steps: Optimizer steps of the warm-up; 0 is none.
    """

    off: ClassVar[dict[str, Any]]
    """Arguments that leave the learning rate alone: a run with them is one without the schedule, bit for bit."""

    felt: ClassVar[dict[str, Any]]
    """Arguments that change the weights within a few steps of any small run."""

    warmup_steps: int = 0

    def __post_init__(self) -> None:
        require_at_least("warmup_steps", self.warmup_steps, 0)

    def factor(self, step: int, num_steps: int) -> float:
        """Give the factor of a step.

        Args:
            step: Optimizer steps done so far.
            num_steps: Optimizer steps of the run at most.

        Returns:
            The factor, from 0 to 1.
        """
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps * self.decay(0, max(1, num_steps - self.warmup_steps))
        return self.decay(step - self.warmup_steps, max(1, num_steps - self.warmup_steps))

    @abstractmethod
    def decay(self, step: int, num_steps: int) -> float:
        """Give the factor of a step after the warm-up.

        Args:
            step: Optimizer steps since the warm-up.
            num_steps: Optimizer steps after the warm-up, at least 1.

        Returns:
            The factor; 1 at step 0.
        """
