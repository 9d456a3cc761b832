"""Figures over training: losses, accuracies, norms of the weights' gradient.

Each function returns a figure for each handful of panels, or an empty list if no run logged the quantity.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnnstudy.plotting.heatmap import finite_of
from rnnstudy.plotting.style import GREY, INK, align, decades
from rnnstudy.report.analysis.statistics import ordered_median
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.figures.panels import Layout, Line, panel_figures
from rnnstudy.runs.logs import Track

_DASHED = (0, (5, 4))
_DOTTED = (0, (1.2, 1.6))


def loss_figures(layout: Layout) -> list[Figure]:
    """Return figures of the loss: median, band from minimum to maximum, the best guess without memory dashed."""
    figures, seen = _curves(
        layout, "evaluation loss", lambda s: (s.logs.loss, s.facts.memoryless_loss), "without memory"
    )
    _scale(figures, seen)
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
    if not any(metric(line.summary)[0] for line in layout.lines):
        return figures, seen
    for page in panel_figures(layout, name):
        guessed = False
        for panel, axes in page.panels:
            drawn = [_draw_metric(axes, line, track) for line in panel.lines if (track := metric(line.summary)[0])]
            seen += drawn
            _label(axes, drawn, "NaN or infinite")
            if all(np.isnan(found).all() for found in drawn):
                continue
            for level in sorted({level for line in panel.lines if (level := metric(line.summary)[1]) is not None}):
                guessed = True
                axes.axhline(level, color=GREY, linestyle=_DASHED, linewidth=1.3, zorder=1)
        if guessed:
            page.key.append(Line2D([], [], color=GREY, linestyle=_DASHED, linewidth=1.3, label=guess))
        figures.append(page.figure)
    return figures, seen


def norm_figures(layout: Layout) -> list[Figure]:
    """Return figures of the norm of the whole weight gradient, as computed and as given to the optimizer."""
    seen: list[np.ndarray] = []
    figures: list[Figure] = []
    if not any(line.summary.logs.raw for line in layout.lines):
        return figures
    for page in panel_figures(layout, "norm of the weight gradient", star=True):
        for panel, axes in page.panels:
            drawn = [_draw_norms(axes, line, raw) for line in panel.lines if (raw := line.summary.logs.raw)]
            seen += drawn
            _label(axes, drawn, "NaN, infinite or zero")
        clipped = "clipped, where it is another"
        page.key.append(Line2D([], [], color=GREY, linewidth=2.0, label="raw"))
        page.key.append(Line2D([], [], color=GREY, linestyle=_DOTTED, linewidth=2.0, label=clipped))
        figures.append(page.figure)
    _scale(figures, seen)
    return figures


def _scale(figures: Sequence[Figure], seen: Sequence[np.ndarray]) -> None:
    """Give all figures one y scale, a logarithmic one where the values ask for it."""
    values = finite_of(seen)
    if values.size and 0 < float(values.min()) < float(values.max()) / 30:
        for figure in figures:
            figure.axes[0].set_yscale("log")
            decades(figure.axes)
    align(figures)


def _label(axes: Axes, drawn: Sequence[np.ndarray], what: str) -> None:
    """Say below the axes what is not drawn; axes with nothing at all lose their numbers."""
    count = sum(int(np.isnan(each).sum()) for each in drawn)
    if all(np.isnan(each).all() for each in drawn):
        without_numbers(axes)
    left_out = f"\nnot drawn: {count} {what}" if count else ""
    axes.set_xlabel(f"training step{left_out}", color=INK)


def without_numbers(axes: Axes) -> None:
    """Take the ticks from axes without data, which matplotlib would number around nothing."""
    axes.tick_params(labelbottom=False, labelleft=False, length=0)
    axes.grid(visible=False)


def _draw_metric(axes: Axes, line: Line, track: Track) -> np.ndarray:
    finite, middle = _spread(track)
    draw_median(axes, line, track.steps, finite, middle=middle)
    return finite


def _draw_norms(axes: Axes, line: Line, raw: Track) -> np.ndarray:
    finite, middle = _positive(raw)
    draw_median(axes, line, raw.steps, finite, middle=middle)
    clipped = line.summary.logs.clipped
    if clipped is not None and not (
        raw.values.shape == clipped.values.shape and np.allclose(raw.values, clipped.values, equal_nan=True)
    ):
        axes.plot(clipped.steps, _positive(clipped)[1], color=line.color, linestyle=_DOTTED, linewidth=2.0)
    return finite


def _spread(track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Return the finite values of `(step, replica)`, and the median over replicas; NaN is the worst, and not drawn."""
    values = track.carried()[:, track.logged_replicas()]
    middle = ordered_median(values, axis=1)  # the median that sorts NaN as the worst, logarithm or not
    return np.where(np.isfinite(values), values, np.nan), np.where(np.isfinite(middle), middle, np.nan)


def _positive(track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Return the same for a logarithmic axis, which has no place for zero."""
    finite, middle = _spread(track)
    return np.where(finite > 0, finite, np.nan), np.where(middle > 0, middle, np.nan)


def draw_median(axes: Axes, line: Line, x: np.ndarray, finite: np.ndarray, *, middle: np.ndarray) -> None:
    """Draw the median `(x,)`, marked at its end, and the range of the finite values `(x, replica)`; others are NaN."""
    if finite.shape[1] > 1:
        missing = np.isnan(finite)
        low = np.where(missing, math.inf, finite).min(axis=1)
        high = np.where(missing, -math.inf, finite).max(axis=1)
        axes.fill_between(x, low, high, where=np.isfinite(low), color=line.color, alpha=0.18, linewidth=0)
    axes.plot(x, middle, color=line.color, linewidth=line.width)
    if (drawn := np.flatnonzero(np.isfinite(middle))).size:
        axes.plot(x[drawn[-1]], middle[drawn[-1]], marker=line.marker, markersize=6, color=line.color)
