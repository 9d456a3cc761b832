"""Measurements that can be written, and the interface of a writer."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from rnnstudy.runs.events import Events


@dataclass(frozen=True, kw_only=True)
class Scalar:
    """One figure per replica."""

    values: Float[Tensor, " replica"]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One figure per time step and replica."""

    values: Float[Tensor, "replica time"]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts between fixed edges, one row per replica.

    Attributes:
        counts: Number of values in each bin; the first and the last bin also hold what lies beyond.
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
        counts: Number of values in each bin; the first and the last bin also hold what lies beyond.
        time_steps: Time step of each histogram, ascending.
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
    """A measurement, and the replicas whose figures count.

    Attributes:
        measured: Measurement over all replicas.
        replicas: Mask of the replicas whose figures count; the others have stopped training.
        scheduled: False for the last figures of a replica that stops between two scheduled measurements; views that
            show all replicas together draw no point for those.
        stopping: Mask of the replicas that have solved the task and stop with these figures; None without any.
    """

    measured: Measurement
    replicas: Bool[Tensor, " replica"]
    scheduled: bool = True
    stopping: Bool[Tensor, " replica"] | None = None

    @property
    def ending(self) -> list[int]:
        """Replicas whose last figures these are."""
        return [] if self.stopping is None else (self.replicas & self.stopping).nonzero().flatten().tolist()

    @property
    def running(self) -> list[int]:
        """Replicas whose figures count."""
        return self.replicas.nonzero().flatten().tolist()


class Writer(ABC):
    """Takes measurements to the place that keeps or shows them."""

    @abstractmethod
    def write(self, step: int, entries: Mapping[str, Entry]) -> None:
        """Take all measurements of one step, by tag; `step` counts the optimizer steps done so far."""

    def show(self, events: Events) -> None:  # noqa: B027 - most show none
        """Take the steps that exploded so far, in place of those shown before."""

    @abstractmethod
    def close(self) -> None:
        """Write what is still held back and close the files."""
