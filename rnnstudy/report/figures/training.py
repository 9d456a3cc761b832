"""Figures of what happens over training: losses, accuracies, norms of the weights' gradient."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnnstudy.plotting.style import GREY, INK, align, decades
from rnnstudy.report.analysis.naming import Entry
from rnnstudy.report.analysis.statistics import ordered_median
from rnnstudy.report.figures.panels import Layout, Line, add_legend, panel_figure
from rnnstudy.runs import tags
from rnnstudy.runs.logs import Track

_DASHED = (0, (5, 4))
_DOTTED = (0, (1.2, 1.6))


def curves_figures(layout: Layout, tag: str) -> list[Figure]:
    """Draw a metric over training: median line, band from minimum to maximum, no memory dashed.

    Args:
        layout: Who shares an axes with whom.
        tag: The metric.

    Returns:
        One figure for each handful of panels; none if no run has the metric.
    """
    if not _has(layout, tag):
        return []
    accuracy = tag.endswith("accuracy")
    seen: list[np.ndarray] = []
    figures: list[Figure] = []
    for page in layout.pages():
        figure, grid = panel_figure(page)
        missing: list[str] = []
        guessed = False
        for panel, axes in zip(page.panels, grid, strict=True):
            drawn = [found for line in panel.lines if (found := _draw_metric(axes, line, tag)) is not None]
            seen += drawn
            missing.append(_missing(axes, drawn, "NaN or infinite"))
            levels = {_chance(line.entry, accuracy=accuracy) for line in panel.lines}
            if all(np.isnan(found).all() for found in drawn):
                continue
            for chance in sorted(level for level in levels if level is not None):
                guessed = True
                axes.axhline(chance, color=GREY, linestyle=_DASHED, linewidth=1.3, zorder=1)
        _label(grid, page, "evaluation accuracy" if accuracy else "evaluation loss", missing)
        name = "chance" if accuracy else "without memory"
        extra = [Line2D([], [], color=GREY, linestyle=_DASHED, linewidth=1.3, label=name)] if guessed else []
        add_legend(figure, grid, page, extra=extra)
        figures.append(figure)
    if accuracy:
        for figure in figures:
            figure.axes[0].set_ylim(-0.02, 1.02)
    else:
        _scale(figures, seen)
    return figures


def norm_figures(layout: Layout) -> list[Figure]:
    """Draw the norm of the whole weight gradient over training, as computed and as given to the optimizer.

    Returns:
        One figure for each handful of panels; none if no run logged it.
    """
    if not _has(layout, tags.RAW_NORM):
        return []
    seen: list[np.ndarray] = []
    figures: list[Figure] = []
    for page in layout.pages():
        figure, grid = panel_figure(page)
        missing: list[str] = []
        for panel, axes in zip(page.panels, grid, strict=True):
            drawn = [found for line in panel.lines if (found := _draw_norms(axes, line)) is not None]
            seen += drawn
            missing.append(_missing(axes, drawn, "NaN, infinite or zero"))
        _label(grid, page, "norm of the weight gradient", missing)
        extra = [
            Line2D([], [], color=GREY, linewidth=2.0, label="raw"),
            Line2D([], [], color=GREY, linestyle=_DOTTED, linewidth=2.0, label="clipped, where it is another"),
        ]
        add_legend(figure, grid, page, extra=extra, star=True)
        figures.append(figure)
    _scale(figures, seen)
    return figures


def _scale(figures: Sequence[Figure], seen: Sequence[np.ndarray]) -> None:
    """Give all figures one y scale, a logarithmic one where the values ask for it."""
    if _spans_decades(seen):
        for figure in figures:
            figure.axes[0].set_yscale("log")
            decades(figure.axes)
    align(figures)


def _has(layout: Layout, tag: str) -> bool:
    return any(tag in line.entry.run.metrics for panel in layout.panels for line in panel.lines)


def _label(grid: Sequence[Axes], page: Layout, name: str, missing: Sequence[str]) -> None:
    for axes, left_out in zip(grid, missing, strict=True):
        axes.set_xlabel(f"training step{left_out}", color=INK)
    for axes in grid[:: page.columns]:
        axes.set_ylabel(name, color=INK)


def _missing(axes: Axes, drawn: Sequence[np.ndarray], what: str) -> str:
    """Return, for below the axes, what is not drawn in a panel; axes with nothing at all lose their numbers."""
    count = sum(int(np.isnan(each).sum()) for each in drawn)
    if all(np.isnan(each).all() for each in drawn):
        without_numbers(axes)
    return f"\nnot drawn: {count} {what}" if count else ""


def without_numbers(axes: Axes) -> None:
    """Take the ticks from axes without data, which matplotlib would number around nothing."""
    axes.tick_params(labelbottom=False, labelleft=False, length=0)
    axes.grid(visible=False)


def _chance(entry: Entry, *, accuracy: bool) -> float | None:
    return entry.run.facts.chance_accuracy if accuracy else entry.run.facts.memoryless_loss


def _spans_decades(drawn: Sequence[np.ndarray]) -> bool:
    values = np.concatenate([each[np.isfinite(each)] for each in drawn] or [np.empty(0)])
    return bool(values.size) and float(values.min()) > 0 and float(values.min()) < float(values.max()) / 30


def _draw_metric(axes: Axes, line: Line, tag: str) -> np.ndarray | None:
    track = line.entry.run.metrics.get(tag)
    if track is None:
        return None
    finite, middle = _spread(track)
    _draw_median(axes, line, track.steps, finite, middle=middle)
    return finite


def _draw_median(axes: Axes, line: Line, steps: np.ndarray, finite: np.ndarray, *, middle: np.ndarray) -> None:
    """Draw the median with a mark at its end, and the band of what is finite, `(step, replica)`."""
    draw_band(axes, steps, finite.T, color=line.color)
    axes.plot(steps, middle, color=line.color, linewidth=line.width)
    _end(axes, steps, middle, line)


def _draw_norms(axes: Axes, line: Line) -> np.ndarray | None:
    raw, clipped = line.entry.run.metrics.get(tags.RAW_NORM), line.entry.run.metrics.get(tags.CLIPPED_NORM)
    if raw is None:
        return None
    finite, middle = _positive(raw)
    _draw_median(axes, line, raw.steps, finite, middle=middle)
    if clipped is not None and _differ(raw, clipped):
        axes.plot(clipped.steps, _positive(clipped)[1], color=line.color, linestyle=_DOTTED, linewidth=2.0)
    return finite


def _differ(raw: Track, clipped: Track) -> bool:
    same = raw.values.shape == clipped.values.shape and np.allclose(raw.values, clipped.values, equal_nan=True)
    return not same


def _spread(track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Return the finite values of `(step, replica)`, and the median over replicas; NaN is the worst, and not drawn."""
    values = track.carried()[:, track.logged_replicas()]
    middle = ordered_median(values, axis=1)  # the median that sorts NaN as the worst, logarithm or not
    return np.where(np.isfinite(values), values, np.nan), np.where(np.isfinite(middle), middle, np.nan)


def _positive(track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Return the same for a logarithmic axis, which has no place for zero."""
    finite, middle = _spread(track)
    return np.where(finite > 0, finite, np.nan), np.where(middle > 0, middle, np.nan)


def _end(axes: Axes, steps: np.ndarray, middle: np.ndarray, line: Line) -> None:
    drawn = np.flatnonzero(np.isfinite(middle))
    if drawn.size:
        axes.plot(steps[drawn[-1]], middle[drawn[-1]], marker=line.marker, markersize=6, color=line.color)


def draw_band(axes: Axes, x: np.ndarray, values: np.ndarray, *, color: str) -> None:
    """Fill from the smallest to the largest finite value of `(replica, x)`."""
    if len(values) < 2:
        return
    missing = np.isnan(values)
    low = np.where(missing, math.inf, values).min(axis=0)
    high = np.where(missing, -math.inf, values).max(axis=0)
    axes.fill_between(x, low, high, where=np.isfinite(low), color=color, alpha=0.18, linewidth=0)
