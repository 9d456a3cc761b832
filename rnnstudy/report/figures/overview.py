"""The figure that opens the report: does it vanish, does it explode, and what did the remedy do."""

import math
from collections.abc import Sequence
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnnstudy.plotting.heatmap import finite_of
from rnnstudy.plotting.style import COLORS, DPI, GREY, GRID, INK, plain, tidy
from rnnstudy.report.analysis.probes import probes_of
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.contents import SideBySide
from rnnstudy.report.figures.curves import curves_of, ended, hold_ends, mark_ends
from rnnstudy.report.figures.gradient import WORST, by_lag, has_norms, mark_information, roomy, tick_decades
from rnnstudy.report.figures.training import MOST_OF_CHANCE, draw_range, has_finite, spans_decades

_USUAL, _EXPLODED, _SOLVED = COLORS[0], COLORS[1], COLORS[2]
_LOSS, _NORM = "training loss", "‖∂loss/∂h‖"
_FONT = 10.5  # read at less than two thirds of its size on a phone
_TITLE = 25  # characters above a column
_MARGIN = 0.08  # of an axis, beyond the medians
_LOSSES: tuple[dict[str, Any], ...] = (
    {"color": _USUAL, "linewidth": 2.8, "label": "median"},
    {"color": _EXPLODED, "linewidth": 1.3, "label": "largest of any step"},
)
_GRADIENTS: tuple[dict[str, Any], ...] = (
    {"color": GREY, "linewidth": 1.8, "linestyle": "--", "label": "before"},
    {"color": _EXPLODED, "linewidth": 2.0, "linestyle": WORST, "label": "worst step"},
    {"color": _USUAL, "linewidth": 2.8, "label": "after"},
)


def overview_figures(shown: Sequence[SideBySide], *, share_x: bool = True) -> list[Figure]:
    """Return a figure for each group of runs, with one column per run: its outcome, training loss and gradient by lag.

    All figures share the scales of y, which follow the medians: losses above 1000 times that without memory, and the
    extremes of the worst steps, leave the axes. With `share_x`, the columns of a figure share those of x. A
    figure has no row for what none of its runs has.
    """
    drawn = [found for each in shown if (found := _figure(each, share_x=share_x))]
    levels = [level for each in shown for _, run in each.runs if (level := run.facts.memoryless_loss)]
    losses, gradients = ([rows[label] for _, rows in drawn if label in rows] for label in (_LOSS, _NORM))
    _scale_losses(losses, MOST_OF_CHANCE * max(levels) if levels else math.inf)
    _scale_gradients(gradients)
    return [figure for figure, _ in drawn]


def _has_losses(run: Summary) -> bool:
    return has_finite(run.logs.train_loss) or has_finite(run.logs.largest_loss)


def _figure(shown: SideBySide, *, share_x: bool) -> tuple[Figure, dict[str, list[Axes]]] | None:
    """Return a figure without its scales, and its axes below the outcomes, by row; None if there is no such row."""
    kinds = ((_LOSS, _LOSSES, _has_losses, _draw_losses), (_NORM, _GRADIENTS, has_norms, _draw_gradients))
    kinds = [kind for kind in kinds if any(kind[2](run) for _, run in shown.runs)]
    if not kinds:
        return None
    columns = len(shown.runs)
    size = (2.8 * max(columns, 2), 1.0 + 2.4 * len(kinds))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    heights = (0.14, *(1 for _ in kinds))
    rows = {"squeeze": False, "sharex": "row" if share_x else "none", "sharey": "row", "height_ratios": heights}
    outcomes, *grid = figure.subplots(len(heights), columns, **rows).tolist()
    if shown.heading:
        figure.suptitle(plain(shown.heading, limit=26 * columns), x=0.01, ha="left", fontsize=11, color=INK)
    for (title, run), outcome in zip(shown.runs, outcomes, strict=True):
        lines = [plain(line) for line in wrap(title, _TITLE, max_lines=2, placeholder="…")]
        outcome.set_title("\n".join(lines), fontsize=11, loc="left", color=INK)
        _draw_outcome(outcome, run)
    for row, (label, looks, has, draw) in zip(grid, kinds, strict=True):
        for axes, (_, run) in zip(row, shown.runs, strict=True):
            tidy(axes)
            axes.tick_params(labelsize=_FONT)
            axes.set_title("\N{NO-BREAK SPACE}", fontsize=_FONT)  # room for the legend
            if not has(run):
                middle = {"transform": axes.transAxes, "ha": "center", "va": "center", "color": INK}
                axes.text(0.5, 0.5, "nothing finite", fontsize=_FONT, **middle)
            draw(axes, run)
        row[0].set_ylabel(label, fontsize=_FONT, color=INK)
        seen = {line.get_label() for axes in row for line in axes.lines if _values(line).size}
        _add_legend(row[0], [Line2D([], [], **look) for look in looks if look["label"] in seen])
    return figure, {label: row for (label, *_), row in zip(kinds, grid, strict=True)}


def _values(line: Line2D) -> np.ndarray:
    values = np.asarray(line.get_ydata(), dtype=np.float64)
    return values[np.isfinite(values)]


def _add_legend(axes: Axes, handles: Sequence[Line2D]) -> None:
    """Put a legend above the first axes of a row, over the whole width."""
    if handles:
        look = {"frameon": False, "fontsize": _FONT, "borderaxespad": 0.1, "columnspacing": 1.2, "handlelength": 1.8}
        legend = axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(handles), **look)
        legend.set_in_layout(False)


def _draw_outcome(axes: Axes, run: Summary) -> None:
    """Draw a bar of the replicas that solved the task, did neither, and diverged."""
    neither = run.replicas - run.solved - run.diverged
    start = 0
    for count, color in ((run.solved, _SOLVED), (neither, GRID), (run.diverged, _EXPLODED)):
        axes.barh(0, count / run.replicas, left=start, color=color, height=1.0)
        start += count / run.replicas
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.5, 0.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(labelbottom=False, labelleft=False, length=0)
    outcomes = {"solved": run.solved, "diverged": run.diverged} if run.is_judged else {"diverged": run.diverged}
    of = " of " if run.is_finished else "/"  # room for more
    told = [
        f"{count}{of}{run.replicas} {name}" if run.replicas > 1 else f"{'' if count else 'not '}{name}"
        for name, count in outcomes.items()
    ]
    so_far = "" if run.is_finished else ", so far"
    axes.set_xlabel(f"{', '.join(told)}{so_far}", fontsize=_FONT, color=INK, loc="left")


def _draw_losses(axes: Axes, run: Summary) -> None:
    """Draw the median of the training loss, and the largest loss of any step and replica since the last entry."""
    median, largest = _LOSSES
    drawn = [curves_of(track, run, summed=True) for track in (run.logs.train_loss, run.logs.largest_loss) if track]
    for curves, look in zip(drawn, _LOSSES if run.logs.train_loss else (largest,), strict=False):
        if look is median:
            draw_range(axes, _USUAL, curves.steps, curves.finite)
        middle = curves.middle if look is median else np.fmax.reduce(curves.finite, axis=1)
        axes.plot(curves.steps, np.where(np.isfinite(middle), middle, np.nan), **look)
    if drawn:
        mark_ends(axes, drawn[-1], _EXPLODED)
    if run.facts.memoryless_loss is not None:
        axes.axhline(run.facts.memoryless_loss, color=GREY, linestyle=(0, (5, 4)), linewidth=1.2, zorder=1)
    note = f"\n✕ {ended(run)}" if run.diverged else ""
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel(f"training step{note}", fontsize=_FONT, color=INK)


def _draw_gradients(axes: Axes, run: Summary) -> None:
    """Draw the norms against lag before training, at the worst step and after training, with their ranges."""
    probes = probes_of(run)
    before, worst, after = _GRADIENTS
    for look, norms in ((after, probes.last), (before, probes.first), (worst, probes.worst)):
        lags, shown, middle = by_lag(norms)
        if look is not before:
            draw_range(axes, look["color"], lags, shown)
        axes.plot(lags, middle, **look)
    mark_information(axes, run.facts)
    axes.set_xlabel("lag (time steps before the end)", fontsize=_FONT, color=INK)


def _scale_losses(rows: Sequence[Sequence[Axes]], most: float) -> None:
    names = {look["label"] for look in _LOSSES}
    seen = [_values(line) for row in rows for axes in row for line in axes.lines if line.get_label() in names]
    if not (values := finite_of(seen)).size:
        return
    low, high = float(values.min()), float(values.max())
    high = min(high, most) if most > low else high
    logarithmic = spans_decades(seen)
    for row in rows:
        if logarithmic:
            row[0].set_yscale("log")
            row[0].set_ylim(*roomy(low, high, share=_MARGIN))
            tick_decades(row)
        else:
            room = _MARGIN * (high - low) or 0.5
            row[0].set_ylim(low - room, high + room)
        for axes in row:
            hold_ends(axes)


def _scale_gradients(rows: Sequence[Sequence[Axes]]) -> None:
    """Make the axes follow the medians, with some room for the ranges."""
    names = {look["label"] for look in _GRADIENTS}
    seen = [_values(line) for row in rows for axes in row for line in axes.lines if line.get_label() in names]
    if not (values := finite_of(seen)).size:
        return
    low, high = roomy(float(values.min()), float(values.max()), share=_MARGIN)
    for row in rows:
        row[0].set_yscale("log")
        row[0].set_ylim(low, high)
        tick_decades(row)
