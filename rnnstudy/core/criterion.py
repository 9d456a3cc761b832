"""When a task counts as solved."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """Rule by which a replica has solved the task: the metric reaches the threshold.

    Args:
        metric: Name among the task's metrics, e.g. "accuracy".
        threshold: Value to reach.
        direction: Whether more or less is better.
    """

    metric: str
    threshold: float
    direction: Literal["at_least", "at_most"]

    @property
    def rule(self) -> str:
        """Text for people, e.g. "accuracy at least 0.99"."""
        return f"{self.metric} {self.direction.replace('_', ' ')} {self.threshold:g}"

    def is_met(self, metrics: Mapping[str, Any]) -> Any:
        """Return where the metric, a tensor or an array of any shape, reaches the threshold; NaN never does."""
        value = metrics[self.metric]
        return value >= self.threshold if self.direction == "at_least" else value <= self.threshold
