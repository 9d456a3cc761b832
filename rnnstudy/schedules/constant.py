"""A constant learning rate."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from rnnstudy.schedules.base import LearningRateSchedule


@dataclass(frozen=True, kw_only=True)
class Constant(LearningRateSchedule):
    """No decay; without a warm-up the optimizer's own learning rate throughout.

    >>> [Constant(warmup_steps=2).factor(step, 5) for step in range(5)]
    [0.5, 1.0, 1.0, 1.0, 1.0]
    """

    off: ClassVar[dict[str, float]] = {"warmup_steps": 0}
    felt: ClassVar[dict[str, float]] = {"warmup_steps": 7}

    @override
    def decay(self, step: int, num_steps: int) -> float:
        return 1.0
