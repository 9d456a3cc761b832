"""A learning rate that falls by the same factor per interval."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from rnnstudy.core.errors import require_above, require_at_least, require_between
from rnnstudy.schedules.base import LearningRateSchedule


@dataclass(frozen=True, kw_only=True)
class Exponential(LearningRateSchedule):
    """rate^(step / interval); in stairs it changes only every `interval` steps.

    >>> [Exponential(rate=0.25, interval=2).factor(step, 4) for step in range(5)]
    [1.0, 0.5, 0.25, 0.125, 0.0625]
    >>> [Exponential(rate=0.5, interval=2, stairs=True).factor(step, 4) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]

    Args:
        rate: Factor after each interval, above 0 and at most 1; 1 for no decay.
        interval: Optimizer steps, at least 1.
        stairs: Whether the factor changes all at once at the end of an interval.
    """

    off: ClassVar[dict[str, float]] = {"rate": 1.0}
    felt: ClassVar[dict[str, float]] = {"interval": 5}

    rate: float = 0.1
    interval: int = 1000
    stairs: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above("rate", self.rate, 0)
        require_between("rate", self.rate, 0, 1)
        require_at_least("interval", self.interval, 1)

    @override
    def decay(self, step: int, num_steps: int) -> float:
        return self.rate ** (step // self.interval if self.stairs else step / self.interval)
