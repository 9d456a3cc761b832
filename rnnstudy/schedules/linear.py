"""A learning rate that falls in a straight line."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from rnnstudy.core.errors import require_between
from rnnstudy.schedules.base import LearningRateSchedule


@dataclass(frozen=True, kw_only=True)
class Linear(LearningRateSchedule):
    """From 1 to `final` in a straight line, reached at the end of the run.

    >>> [round(Linear(final=0.2).factor(step, 4), 3) for step in range(5)]
    [1.0, 0.8, 0.6, 0.4, 0.2]

    Args:
        final: Factor at the end, from 0 to 1; 1 for no decay.
    """

    off: ClassVar[dict[str, float]] = {"final": 1.0}
    felt: ClassVar[dict[str, float]] = {"warmup_steps": 3}

    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_between("final", self.final, 0, 1)

    @override
    def decay(self, step: int, num_steps: int) -> float:
        return 1 + (self.final - 1) * min(1, step / num_steps)
