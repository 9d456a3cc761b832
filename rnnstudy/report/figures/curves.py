"""Curves of the replicas of a run over training, each up to where its replica diverged."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from rnnstudy.plotting.style import plain
from rnnstudy.report.analysis.statistics import ordered_median
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.figures.panels import Line
from rnnstudy.runs.logs import Track

END = "x"
"""Marker where a replica diverged."""

_MOST_NOTES = 3  # lines below an axes


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A track of the replicas that logged it, each up to where it was lost.

    Args:
        steps: Optimizer steps of the log; where all replicas are lost, up to the last divergence. Shape `(step,)`.
        values: Values; between entries the one that tells about the step. Shape `(step, replica)` or `(step, replica,
            time)`.
        left: Whether the replica is not lost yet; shape `(step, replica)`.
        ends: Optimizer step at which the replica diverged; infinite for the others. Shape `(replica,)`.
    """

    steps: np.ndarray
    values: np.ndarray
    left: np.ndarray
    ends: np.ndarray

    @property
    def finite(self) -> np.ndarray:
        """The finite values of the replicas left; NaN for the rest."""
        left = self.left.reshape(*self.left.shape, *(1 for _ in self.values.shape[2:]))
        return np.where(left & np.isfinite(self.values), self.values, np.nan)

    @property
    def middle(self) -> np.ndarray:
        """The median over the replicas left, in which NaN is the worst; shape `(step,)` or `(step, time)`."""
        if self.left.all():
            return ordered_median(self.values, axis=1)
        rows = zip(self.values, self.left, strict=True)
        return np.stack([ordered_median(values[left], axis=0) for values, left in rows])


def curves_of(track: Track, summary: Summary, *, summed: bool = False) -> Curves:
    """Return the curves of a track.

    Args:
        track: The track.
        summary: Its run, which knows who diverged, and when.
        summed: Whether an entry is about all steps since the one before, not about its own step. The last entry of a
            replica, made some steps after it was lost, then is about its last steps.
    """
    replicas = track.logged_replicas().tolist()
    ends = np.array([_end(track, summary, replica) for replica in replicas])
    last = ends.max()
    steps = track.steps if np.isinf(last) else np.append(track.steps[track.steps < last], last)
    values = np.full((len(steps), len(replicas), *track.values.shape[2:]), np.nan)
    for column, replica in enumerate(replicas):
        own, found = track.steps[track.logged[:, replica]], track.of_replica(replica)
        rows = np.searchsorted(own, steps) if summed else np.searchsorted(own, steps, side="right") - 1
        known = rows >= 0
        values[known, column] = found[np.minimum(rows[known], len(own) - 1)]
    left = ends >= steps[:, None]
    if summed:
        left[1:] = ends > steps[:-1, None]
    elif len(steps) > 1 and last not in track.steps:
        left[-1] = left[-2]  # the line continues unchanged up to its end
    return Curves(steps=steps, values=values, left=left, ends=ends)


def _end(track: Track, summary: Summary, replica: int) -> float:
    if summary.status[replica] != "diverged":
        return np.inf
    known = summary.diverged_at[replica]
    return float(track.steps[track.logged[:, replica]][-1] if known is None else known)


def mark_ends(axes: Axes, curves: Curves, color: str) -> None:
    """Mark the last finite value of each replica that diverged, where it did."""
    for column in np.flatnonzero(np.isfinite(curves.ends)).tolist():
        finite = curves.finite[:, column]
        if (drawn := np.flatnonzero(np.isfinite(finite))).size:
            place = curves.ends[column], finite[drawn[-1]]
            axes.plot(*place, marker=END, markersize=7, markeredgewidth=2, color=color, clip_on=False, zorder=4)


def hold_ends(axes: Axes) -> None:
    """Move the marks that lie beyond the limits of y to the edge; call it when the limits are final."""
    for line in axes.lines:
        if line.get_marker() == END:
            line.set_ydata(np.clip(np.asarray(line.get_ydata(), dtype=np.float64), *axes.get_ylim()))


def end_notes(lines: Sequence[Line], *, mark: str = "✕ ") -> str:
    """Return lines of text on the replicas that diverged, each with a line break before it."""
    lost = [line for line in lines if line.summary.diverged]
    notes = [f"{mark}{plain(line.label, limit=24)}: {ended(line.summary)}" for line in lost[:_MOST_NOTES]]
    more = len(lost) - _MOST_NOTES
    return "".join(f"\n{note}" for note in [*notes, *([f"and {more} more runs"] if more > 0 else [])])


def ended(summary: Summary) -> str:
    """Return, e.g., "3 of 8 diverged, from step 13"."""
    known = [step for step in summary.diverged_at if step is not None]
    since = f", {'from' if summary.diverged > 1 else 'at'} step {min(known)}" if known else ""
    return f"{f'{summary.diverged} of {summary.replicas} ' if summary.replicas > 1 else ''}diverged{since}"
