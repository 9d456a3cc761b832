"""The learning rate as it is."""

from dataclasses import dataclass

from typing_extensions import override

from rnnstudy.schedules.base import LearningRateSchedule


@dataclass(frozen=True, kw_only=True)
class Constant(LearningRateSchedule):
    """No decay; without a warm-up the optimizer's own learning rate throughout.

    >>> [Constant(warmup_steps=2).factor(step, 5) for step in range(5)]
    [0.5, 1.0, 1.0, 1.0, 1.0]
    """

    @override
    def decay(self, step: int, num_steps: int) -> float:
        return 1.0
