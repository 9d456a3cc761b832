"""Sub-runs of TensorBoard that show the gradient on its way back through time."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnstudy.runs.folder import SUB_RUN
from rnnstudy.writers.base import HistogramOverTime
from rnnstudy.writers.events import Events

MAX_SUB_RUNS = 5
"""Maximum number of sub-runs of a run. With many more, nothing stands out."""

_NAME = re.compile(rf"{SUB_RUN}(\d{{6,}})")


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Histograms over time of all replicas together.

    Attributes:
        counts: Counts, shape `(time, bin)`.
        time_steps: Time step of each row.
        low: Left edge of the first bin.
        width: Width of every bin.
    """

    counts: np.ndarray
    time_steps: list[int]
    low: float
    width: float


def pooled(histograms: HistogramOverTime, counts: np.ndarray) -> Pooled:
    """Return the counts of several replicas together, shape `(time, bin)`, without the empty bins at both ends."""
    first, end = filled_bins(counts.sum(0))
    low, time_steps = histograms.low + histograms.width * first, list(histograms.time_steps)
    return Pooled(counts=counts[:, first:end], time_steps=time_steps, low=low, width=histograms.width)


def filled_bins(counts: np.ndarray) -> tuple[int, int]:
    """Return the first filled bin, and the one after the last; twice the same if all are empty."""
    filled = np.flatnonzero(counts)
    return (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 0)


class ThroughTime:
    """Writes the histograms of one optimizer step into a folder of its own, such as `at_step_000300`.

    TensorBoard takes it for a run in which `global_step` is the time step: its offset histograms show the gradient at
    every time step. It shows the first measurements, and, once the run has ended, the last one.

    Args:
        folder: Folder of the run.
        purge_step: Optimizer step from which it removes what an interrupted run had written.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        """Remove what will be written anew."""
        self._folder = folder
        self._shown: set[int] = set()
        self._pending: tuple[int, Mapping[str, Pooled]] | None = None
        for path in sorted(folder.glob(f"{SUB_RUN}*")):
            if named := _NAME.fullmatch(path.name):
                if int(named[1]) < purge_step:
                    self._shown.add(int(named[1]))
                else:
                    _remove(path)

    def write(self, step: int, histograms: Mapping[str, Pooled]) -> None:
        """Take the measurements of one optimizer step, by tag."""
        self._pending = step, histograms
        if len(self._shown) < MAX_SUB_RUNS - 1:
            self.finish()

    def finish(self) -> None:
        """Show the last measurement unless it is already shown."""
        if self._pending is None or self._pending[0] in self._shown:
            return
        step, histograms = self._pending
        filled = {tag: histogram for tag, histogram in histograms.items() if histogram.counts.any()}
        # An empty folder of events would be a run with nothing to see.
        if not filled:
            return
        self._shown.add(step)
        events = Events(self._folder / f"{SUB_RUN}{step:06d}")
        for tag, histogram in filled.items():
            # Time steps at which all entries are zero are there too: the axis is that of the whole sequence.
            for time_step, counts in zip(histogram.time_steps, histogram.counts, strict=True):
                events.histogram(tag, counts, (histogram.low, histogram.width), time_step)
        events.flush()
        events.close()


def _remove(folder: Path) -> None:
    for path in folder.glob("*tfevents*"):
        path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
