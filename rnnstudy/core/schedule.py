"""Schedules of events during training."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from rnnstudy.core.errors import require_at_least


class Schedule(ABC):
    """Decides, for each optimizer step, whether something is due."""

    @abstractmethod
    def is_due(self, step: int) -> bool:
        """Return whether it is due at `step`, the number of optimizer steps done so far."""


@dataclass(frozen=True, kw_only=True)
class Every(Schedule):
    """At step 0 and every `interval` steps.

    Args:
        interval: Optimizer steps, at least 1.
    """

    interval: int

    def __post_init__(self) -> None:
        require_at_least("interval", self.interval, 1)

    @override
    def is_due(self, step: int) -> bool:
        return step % self.interval == 0


@dataclass(frozen=True, kw_only=True)
class At(Schedule):
    """At step 0 and at the given steps.

    Args:
        steps: Optimizer steps, each at least 0.
    """

    steps: Sequence[int]

    def __post_init__(self) -> None:
        for step in self.steps:
            require_at_least("steps", step, 0)

    @override
    def is_due(self, step: int) -> bool:
        return step == 0 or step in self.steps
