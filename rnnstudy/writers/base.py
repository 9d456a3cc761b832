"""What can be written, and what a writer is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Scalar:
    """One figure per replica."""

    values: Float[Tensor, " replica"]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A figure per time step, and replica."""

    values: Float[Tensor, "replica time"]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts between fixed edges, one row per replica.

    Attributes:
        counts: How many values lie in each bin; the first and the last bin also hold what lies beyond.
        low: Left edge of the first bin.
        width: Width of every bin.
    """

    counts: Int[Tensor, "replica bin"]
    low: float
    width: float


@dataclass(frozen=True, kw_only=True)
class HistogramOverTime:
    """A histogram of every time step, with the same edges at all of them.

    Attributes:
        counts: How many values lie in each bin; the first and the last bin also hold what lies beyond.
        time_steps: The time step of each histogram, ascending.
        low: Left edge of the first bin.
        width: Width of every bin.
    """

    counts: Int[Tensor, "replica time bin"]
    time_steps: Sequence[int]
    low: float
    width: float


Measurement = Scalar | Curve | Histogram | HistogramOverTime
Measurements = Mapping[str, Measurement]
"""Measurements by tag."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A measurement, and whose figures of it count.

    Attributes:
        measured: The measurement, over all replicas.
        replicas: Whose figures count; the others have stopped training.
        scheduled: False for the last figures of a replica that stops between two scheduled measurements; views that
            show all replicas together do not draw a point for those.
        stopping: Which of the replicas have solved the task and stop with these figures; None for none.
    """

    measured: Measurement
    replicas: Bool[Tensor, " replica"]
    scheduled: bool = True
    stopping: Bool[Tensor, " replica"] | None = None

    @property
    def ending(self) -> list[int]:
        """The replicas whose last figures these are."""
        return [] if self.stopping is None else (self.replicas & self.stopping).nonzero().flatten().tolist()

    @property
    def running(self) -> list[int]:
        """The replicas that count."""
        return self.replicas.nonzero().flatten().tolist()


class Writer(ABC):
    """Takes what was measured to where it is kept or shown."""

    @abstractmethod
    def write(self, step: int, entries: Mapping[str, Entry]) -> None:
        """Take everything that was measured at one step, by tag.

        Args:
            step: Optimizer steps done so far.
            entries: Tag to entry.
        """

    @abstractmethod
    def close(self) -> None:
        """Write what is still held back and let go of the files."""
