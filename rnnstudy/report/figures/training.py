"""Figures over training: losses, accuracies, norms of the weights' gradient.

Each function returns a figure for each handful of panels, or an empty list if no run logged the quantity.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnnstudy.plotting.heatmap import finite_of
from rnnstudy.plotting.style import GREY, INK, align, decades
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.figures.curves import END, Curves, curves_of, end_notes, hold_ends, mark_ends
from rnnstudy.report.figures.panels import Layout, Line, panel_figures
from rnnstudy.runs.logs import Track

MOST_OF_CHANCE = 1000.0
"""Multiple of the loss without memory above which losses leave the axes."""

_MOST_OF_MEDIANS = 1e4  # norms of single replicas, before they leave the axes
_DASHED = (0, (5, 4))
_DOTTED = (0, (1.2, 1.6))


def loss_figures(layout: Layout) -> list[Figure]:
    """Return figures of the loss: median, band from minimum to maximum, the best guess without memory dashed."""
    figures, seen = _curves(
        layout, "evaluation loss", lambda s: (s.logs.loss, s.facts.memoryless_loss), "without memory"
    )
    levels = [level for line in layout.lines if (level := line.summary.facts.memoryless_loss)]
    _scale(figures, seen, most=MOST_OF_CHANCE * max(levels) if levels else math.inf)
    return figures


def accuracy_figures(layout: Layout) -> list[Figure]:
    """Return figures of the accuracy likewise, the accuracy by chance dashed."""
    figures, _ = _curves(layout, "evaluation accuracy", lambda s: (s.logs.accuracy, s.facts.chance_accuracy), "chance")
    for figure in figures:
        figure.axes[0].set_ylim(-0.02, 1.02)
    return figures


def _curves(
    layout: Layout, name: str, metric: Callable[[Summary], tuple[Track | None, float | None]], guess: str
) -> tuple[list[Figure], list[np.ndarray]]:
    """Return the figures of a metric, and all drawn values; `metric` gives a run's track and the level of the guess."""
    seen: list[np.ndarray] = []
    figures: list[Figure] = []
    for page in panel_figures(layout.only(lambda summary: has_finite(metric(summary)[0])), name):
        guessed = False
        for panel, axes in page.panels:
            drawn = [_draw_metric(axes, line, track) for line in panel.lines if (track := metric(line.summary)[0])]
            seen += drawn
            _label(axes, drawn, "NaN or infinite", panel.lines)
            for level in sorted({level for line in panel.lines if (level := metric(line.summary)[1]) is not None}):
                guessed = True
                axes.axhline(level, color=GREY, linestyle=_DASHED, linewidth=1.3, zorder=1)
        if guessed:
            page.key.append(Line2D([], [], color=GREY, linestyle=_DASHED, linewidth=1.3, label=guess))
        figures.append(page.figure)
    return figures, seen


def norm_figures(layout: Layout) -> list[Figure]:
    """Return figures of the norm of the whole weight gradient, as computed and as given to the optimizer.

    As computed it is the largest since the last entry, in the logs of older versions that of the probe.
    """
    seen: list[np.ndarray] = []
    figures: list[Figure] = []
    layout = layout.only(lambda summary: has_finite(_raw_norm(summary), above=0.0))
    every = any(line.summary.logs.largest_norm for line in layout.lines)
    for page in panel_figures(layout, "norm of the weight gradient", star=True):
        for panel, axes in page.panels:
            drawn = [_draw_norms(axes, line, raw) for line in panel.lines if (raw := _raw_norm(line.summary))]
            seen += drawn
            _label(axes, drawn, "NaN, infinite or zero", panel.lines)
        clipped = "clipped, where it is another"
        raw = "raw, largest since the last entry" if every else "raw"
        page.key.append(Line2D([], [], color=GREY, linewidth=2.0, label=raw))
        page.key.append(Line2D([], [], color=GREY, linestyle=_DOTTED, linewidth=2.0, label=clipped))
        figures.append(page.figure)
    lines = [line for figure in figures for axes in figure.axes for line in axes.lines if line.get_marker() != END]
    medians = finite_of([np.asarray(line.get_ydata(), dtype=np.float64) for line in lines])
    _scale(figures, seen, most=_MOST_OF_MEDIANS * float(medians.max()) if medians.size else math.inf)
    return figures


def has_finite(track: Track | None, *, above: float = -math.inf) -> bool:
    """Return whether a track has a finite value, larger than another."""
    return track is not None and bool((np.isfinite(track.values) & (track.values > above) & track.logged).any())


def _raw_norm(summary: Summary) -> Track | None:
    return summary.logs.largest_norm or summary.logs.raw


def _scale(figures: Sequence[Figure], seen: Sequence[np.ndarray], *, most: float = math.inf) -> None:
    """Give all figures one y scale up to `most`, a logarithmic one where the values ask for it."""
    if spans_decades(seen):
        for figure in figures:
            figure.axes[0].set_yscale("log")
            decades(figure.axes)
    align(figures)
    for figure in figures:
        limit(figure.axes[0], *figure.axes[0].get_ylim(), most)
        for axes in figure.axes:
            hold_ends(axes)


def limit(axes: Axes, low: float, high: float, most: float) -> None:
    """Set the ends of y, the upper one at most `most` unless everything is above."""
    axes.set_ylim(low, min(high, most) if most > low else high)


def spans_decades(seen: Sequence[np.ndarray]) -> bool:
    """Return whether values ask for a logarithmic axis."""
    values = finite_of(seen)
    return bool(values.size) and 0 < float(values.min()) < float(values.max()) / 30


def _label(axes: Axes, drawn: Sequence[np.ndarray], what: str, lines: Sequence[Line]) -> None:
    """Say below the axes what is not drawn, and what ended."""
    count = sum(int(np.isnan(each).sum()) for each in drawn)
    left_out = f"\nnot drawn: {count} {what}" if count else ""
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel(f"training step{end_notes(lines)}{left_out}", color=INK)


def _draw_metric(axes: Axes, line: Line, track: Track) -> np.ndarray:
    """Draw a track and return the values of the replicas left, NaN for those that are not finite."""
    curves = curves_of(track, line.summary)
    return _draw_curves(axes, line, curves, curves.finite, curves.middle)


def _draw_norms(axes: Axes, line: Line, raw: Track) -> np.ndarray:
    """Draw norms likewise, on a logarithmic axis, which has no place for zero."""
    logs = line.summary.logs
    curves = curves_of(raw, line.summary, summed=raw is logs.largest_norm)
    drawn = _draw_curves(axes, line, curves, _positive(curves.finite), _positive(curves.middle))
    probed, clipped = logs.raw, logs.clipped
    if (
        probed is not None
        and clipped is not None
        and not (
            probed.values.shape == clipped.values.shape and np.allclose(probed.values, clipped.values, equal_nan=True)
        )
    ):
        given = curves_of(clipped, line.summary)
        axes.plot(given.steps, _positive(given.middle), color=line.color, linestyle=_DOTTED, linewidth=2.0)
    return drawn


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)


def _draw_curves(axes: Axes, line: Line, curves: Curves, finite: np.ndarray, middle: np.ndarray) -> np.ndarray:
    draw_median(axes, line, curves.steps, finite, middle=np.where(np.isfinite(middle), middle, np.nan))
    mark_ends(axes, replace(curves, values=finite), line.color)
    return finite[curves.left]


def draw_median(axes: Axes, line: Line, x: np.ndarray, finite: np.ndarray, *, middle: np.ndarray) -> None:
    """Draw the median `(x,)`, marked at its end, and the range of the finite values `(x, replica)`; others are NaN."""
    draw_range(axes, line.color, x, finite)
    axes.plot(x, middle, color=line.color, linewidth=line.width)
    if (drawn := np.flatnonzero(np.isfinite(middle))).size:
        size = 4 + line.width  # of several at one place, all are seen
        axes.plot(x[drawn[-1]], middle[drawn[-1]], marker=line.marker, markersize=size, color=line.color)


def draw_range(axes: Axes, color: str, x: np.ndarray, finite: np.ndarray) -> None:
    """Draw the band from the smallest to the largest of the finite values `(x, replica)`; others are NaN."""
    if finite.shape[1] > 1:
        missing = np.isnan(finite)
        low = np.where(missing, math.inf, finite).min(axis=1)
        high = np.where(missing, -math.inf, finite).max(axis=1)
        axes.fill_between(x, low, high, where=np.isfinite(low), color=color, alpha=0.18, linewidth=0)
