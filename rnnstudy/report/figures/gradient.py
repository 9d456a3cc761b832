"""Figures of the gradient on its way back through time."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator
from matplotlib.typing import LineStyleType

from rnnstudy.plotting.heatmap import draw_heatmap, extend_of, log10_norms, shared_range, special_handles
from rnnstudy.plotting.style import DPI, GREY, INK, align, decades, grid_of, plain
from rnnstudy.report.analysis.probes import probes_of, survivors
from rnnstudy.report.analysis.statistics import ordered_median
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.figures.curves import curves_of, end_notes
from rnnstudy.report.figures.panels import Layout, Line, columns_of, panel_figures
from rnnstudy.report.figures.training import draw_median
from rnnstudy.runs.logs import Track
from rnnstudy.runs.run import TaskFacts

_MOST_MARKS = 4  # lags that can be told apart in a small figure
_MOST_MAPS = 12  # heatmaps that one figure still shows well
_BOUND = (0, (7, 2, 1.5, 2))
WORST: LineStyleType = (0, (1.2, 1.2))
"""Line of the worst step."""

_ROOM = 0.4  # of the decades of the curves, for bounds above them


def lag_figures(layout: Layout) -> list[Figure]:
    """Return figures of norms against lag at the first probe, the worst step and the last probe, and of their bound.

    The axes follow the curves. A bound that leaves them is cut: it has some room above, and none below.
    """
    figures: list[Figure] = []
    layout = layout.only(has_norms)
    for page in panel_figures(layout, "‖∂loss/∂h‖ per sequence", share_x=False, star=True):  # runs differ in length
        _, first = page.panels[0]
        first.set_yscale("log")
        marked = [_draw_panel(axes, panel.lines) for panel, axes in page.panels]
        low, high = roomy(*first.get_ylim())
        first.set_ylim(low, high)
        drawn = [_draw_bound(axes, line) for panel, axes in page.panels for line in panel.lines]
        bounds = [bound for bound in drawn if bound is not None]
        if bounds:
            room = 10.0 ** min(math.log10(high) + _ROOM * (math.log10(high) - math.log10(low)), 300)
            first.set_ylim(low, min(room, max(high, *bounds)))
        summaries = [line.summary for panel, _ in page.panels for line in panel.lines]
        page.key.append(Line2D([], [], color=GREY, linestyle="--", linewidth=1.6, label="first probe"))
        if any(len(probes_of(summary).worst) for summary in summaries):
            page.key.append(Line2D([], [], color=GREY, linestyle=WORST, linewidth=2.0, label="worst step"))
        page.key.append(Line2D([], [], color=GREY, linestyle="-", linewidth=2.0, label="last probe"))
        if any(marked):
            mark = {"linestyle": "none", "marker": "|", "markersize": 12, "markeredgewidth": 1.3}
            page.key.append(Line2D([], [], color=GREY, label="lag of the information", **mark))
        if bounds:
            page.key.append(Line2D([], [], color=GREY, linestyle=_BOUND, linewidth=1.4, label="bound of theory"))
        figures.append(page.figure)
    align(figures)
    for figure in figures:
        tick_decades(figure.axes)
    return figures


def has_norms(summary: Summary) -> bool:
    """Return whether a probe or a kept step has a norm with a finite logarithm."""
    probes = probes_of(summary)
    return any(bool(((norms > 0) & np.isfinite(norms)).any()) for norms in (probes.first, probes.worst, probes.last))


def roomy(low: float, high: float, *, share: float = 0.0) -> tuple[float, float]:
    """Return the ends of a logarithmic axis, moved apart by a share of the decades between them.

    There are two decades at least: flat curves must look flat.
    """
    bottom, top = math.log10(low), math.log10(high)
    room = max(share * (top - bottom), 1.0 - (top - bottom) / 2)
    return 10.0 ** max(bottom - room, -300.0), 10.0 ** min(top + room, 300.0)


def bound_of_theory(summary: Summary) -> np.ndarray | None:
    """Return log10 of the largest norm that theory allows at each lag, shape `(lag,)`; None where there is no bound.

    At the last probe, median over the replicas that have one: bound(lag) = norm(lag 0) * gain^lag with gain = gamma *
    ||W_hh||, for vanilla networks with the loss at the last time step alone (Pascanu, Mikolov & Bengio, 2013,
    section 2.1).
    """
    gain, kept = summary.logs.gain, survivors(summary)
    if gain is None or not kept or not summary.facts.loss_at_end:
        return None
    norms, gains = probes_of(summary).last, log10_norms(gain.carried()[-1, kept])
    logs = log10_norms(norms[:, -1])[:, None] + gains[:, None] * np.arange(norms.shape[1])
    return ordered_median(logs, axis=0)


def _draw_bound(axes: Axes, line: Line) -> float | None:
    """Draw the bound and return its largest value; None if there is no finite bound."""
    bound = bound_of_theory(line.summary)
    if bound is None:
        return None
    within = np.where(np.abs(bound) < 300, bound, np.nan)  # beyond, a float has no power of ten
    if not np.isfinite(within).any():
        return None
    axes.plot(10.0**within, color=line.color, linestyle=_BOUND, linewidth=1.4)
    return float(10.0 ** np.max(within, where=np.isfinite(within), initial=-300))


def _draw_panel(axes: Axes, lines: Sequence[Line]) -> bool:
    """Draw the curves of a panel; return whether the lags of the information were marked."""
    zeros = others = 0
    for line in lines:
        probes = probes_of(line.summary)
        styles: tuple[LineStyleType, ...] = ("--", WORST, "-")
        for norms, style in zip((probes.first, probes.worst, probes.last), styles, strict=True):
            _draw_lags(axes, norms, line, style=style)
            zeros += int((norms == 0).sum())
            others += int((~np.isfinite(norms)).sum())
    axes.set_xlabel(f"lag (time steps before the end){_undrawn(zeros, others)}{end_notes(lines, mark='')}", color=INK)
    return mark_information(axes, lines[0].summary.facts)


def mark_information(axes: Axes, facts: TaskFacts) -> bool:
    """Mark the lags that carry the information unless they are many; return whether they are marked."""
    if not 0 < len(facts.informative_steps) <= _MOST_MARKS:
        return False
    for step in facts.informative_steps:
        axes.axvline(facts.seq_len - 1 - step, color=GREY, linewidth=1.2, zorder=1)
    return True


def tick_decades(grid: Sequence[Axes]) -> None:
    """Put the ticks at round powers: matplotlib would take every 35th decade."""
    low, high = (math.log10(limit) for limit in grid[0].get_ylim())
    spacing = next((step for step in (1, 2, 5, 10, 20, 50) if (high - low) / step <= 9), 100)
    powers = np.arange(math.ceil(low / spacing), math.floor(high / spacing) + 1) * spacing
    if len(powers) > 1:
        grid[0].yaxis.set_major_locator(FixedLocator((10.0 ** powers.astype(float)).tolist()))
        grid[0].yaxis.set_minor_locator(NullLocator())
    decades(grid)


def _undrawn(zeros: int, others: int) -> str:
    parts = ([f"{zeros} exact zeros"] if zeros else []) + ([f"{others} NaN or infinite"] if others else [])
    return f"\nnot drawn: {', '.join(parts)}" if parts else ""


def _draw_lags(axes: Axes, norms: np.ndarray, line: Line, *, style: LineStyleType) -> None:
    lags, shown, middle = by_lag(norms)
    if style == "-":
        draw_median(axes, line, lags, shown, middle=middle)
    else:
        axes.plot(lags, middle, color=line.color, linestyle=style, linewidth=max(1.4, 0.5 * line.width))


def by_lag(norms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lags, norms `(lag, replica)` and their median, of norms `(replica, time)`; NaN for what has no log10."""
    logs = log10_norms(norms[:, ::-1])
    middle = ordered_median(logs, axis=0) if len(logs) else np.full(logs.shape[1], np.nan)
    with np.errstate(under="ignore"):
        shown, median = (10.0 ** np.where(np.isfinite(each), each, np.nan) for each in (logs.T, middle))
    return np.arange(logs.shape[1]), shown, median


def heatmap_figures(summaries: Sequence[Summary]) -> list[Figure]:
    """Return figures with one map per run, side by side, all on one colour scale; up to where all replicas are lost.

    A run that is lost before its second probe has no map, which would be a single row, nor has one without any norm.
    """
    tracks = [(summary, track) for summary in summaries if (track := summary.logs.gradient) is not None]
    drawn = [(summary, *_probed(track, summary)) for summary, track in tracks]
    maps = [
        (summary, steps, values)
        for summary, steps, values in drawn
        if np.isfinite(values).any() and (len(steps) > 1 or survivors(summary))
    ]
    color_range = shared_range([values for *_, values in maps])
    return [_maps_figure(maps[start : start + _MOST_MAPS], color_range) for start in range(0, len(maps), _MOST_MAPS)]


def _probed(track: Track, summary: Summary) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps of the probes before all replicas are lost, and log10 of the median norms `(step, time)`."""
    curves = curves_of(track, summary)
    probed = np.isin(curves.steps, track.steps)
    return curves.steps[probed], replace(curves, values=log10_norms(curves.values)).middle[probed]


def _maps_figure(maps: Sequence[tuple[Summary, np.ndarray, np.ndarray]], color_range: tuple[float, float]) -> Figure:
    """Draw the maps of some runs: the run, its optimizer steps, and log10 norms of shape `(step, time)`."""
    columns = columns_of(len(maps))
    rows = -(-len(maps) // columns)
    size = (5.6 if columns == 1 else 3.8 * columns, 2.7 * rows + 0.6)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = grid_of(figure, len(maps), columns)
    mesh = None
    for number, ((summary, steps, values), axes) in enumerate(zip(maps, grid, strict=True)):
        marks = summary.facts.informative_steps
        mesh = draw_heatmap(axes, steps=steps, values=values, value_range=color_range, informative_steps=marks)
        axes.spines[:].set_visible(False)
        for line in axes.lines:
            if line.get_marker() == "v":
                line.set_color(INK)  # black would be lost on a dark page
        title = plain(summary.name, limit=38) + ("*" if summary.is_edited else "")
        axes.set_title(title, fontsize=11, loc="left", color=INK, pad=9)
        if number + columns >= len(maps):
            axes.set_xlabel("time step", color=INK)
        if number % columns == 0:
            axes.set_ylabel("training step", color=INK)
    assert mesh is not None
    every = [values for *_, values in maps]
    bar = figure.colorbar(mesh, ax=grid, extend=extend_of(every, color_range), aspect=15 * rows)
    bar.set_label("log10 of gradient norm", color=INK)
    handles = special_handles(every)
    if any(0 < len(each.facts.informative_steps) < each.facts.seq_len for each, *_ in maps):
        label = "time step with the information"
        handles.append(Line2D([], [], linestyle="none", marker="v", markersize=7, color=INK, label=label))
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=10)
    return figure
