"""Sub-runs of TensorBoard that show the gradient on its way back through time."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnstudy.runs import tags
from rnnstudy.runs.events import Event
from rnnstudy.runs.folder import SUB_RUN, WORST
from rnnstudy.writers.base import HistogramOverTime
from rnnstudy.writers.events import EventFile

MAX_SUB_RUNS = 5
"""Maximum number of sub-runs of a run. With many more, nothing stands out."""

_NAME = re.compile(rf"{SUB_RUN}(\d{{6,}})({WORST})?")


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
    every time step. It shows the first measurements, and, once the run has ended, the last one. The worst of the steps
    that spiked stands beside them, in a folder such as `at_step_000013_worst`.

    Args:
        folder: Folder of the run.
        describe: Returns the description of a tag, as `EventFile` asks.
        purge_step: Optimizer step from which it removes what an interrupted run had written.
    """

    def __init__(self, folder: Path, describe: Callable[[str, str], str], purge_step: int) -> None:
        """Remove what will be written anew."""
        self._folder, self._describe = folder, describe
        self._shown: set[int] = set()
        self._worst: tuple[int, int] | None = None
        self._pending: tuple[int, Mapping[str, Pooled]] | None = None
        for path in sorted(folder.glob(f"{SUB_RUN}*")):
            if named := _NAME.fullmatch(path.name):
                if int(named[1]) >= purge_step:
                    _remove(path)
                elif not named[2]:
                    self._shown.add(int(named[1]))

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
        self._write(sub_run(step), filled, self._describe)

    def show_worst(self, event: Event) -> None:
        """Show a step that spiked in place of the one shown before, unless it is the same."""
        if (event.replica, event.spike.step) == self._worst:
            return
        self._worst = event.replica, event.spike.step
        for path in self._folder.glob(f"{SUB_RUN}*{WORST}"):
            _remove(path)
        histograms = {
            f"{tags.group(tags.THROUGH_TIME)}/{name}/total": Pooled(
                counts=np.array(each.counts), time_steps=list(each.time_steps), low=each.low, width=each.width
            )
            for name, each in event.histograms.items()
        }
        self._write(worst_sub_run(event), histograms, lambda tag, _: self._describe(tag, "one replica"))

    def _write(self, name: str, histograms: Mapping[str, Pooled], describe: Callable[[str, str], str]) -> None:
        events = EventFile(self._folder / name, describe)
        for tag, histogram in histograms.items():
            # Time steps at which all entries are zero are there too: the axis is that of the whole sequence.
            for time_step, counts in zip(histogram.time_steps, histogram.counts, strict=True):
                events.histogram(tag, counts, (histogram.low, histogram.width), time_step)
        events.flush()
        events.close()


def sub_run(step: int) -> str:
    """Return the name of the folder for one optimizer step."""
    return f"{SUB_RUN}{step:06d}"


def worst_sub_run(event: Event) -> str:
    """Return the name of the folder for the worst step."""
    return f"{sub_run(event.spike.step)}{WORST}"


def _remove(folder: Path) -> None:
    for path in folder.glob("*tfevents*"):
        path.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()
