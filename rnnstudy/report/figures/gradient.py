"""Figures of the gradient on its way back through time."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from rnnstudy.plotting.heatmap import draw_heatmap, extend_of, log10_norms, shared_range, special_handles
from rnnstudy.plotting.style import DPI, GREY, INK, align, decades, grid_of, plain
from rnnstudy.report.analysis.statistics import ordered_median
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.figures.panels import Layout, Line, columns_of, panel_figures
from rnnstudy.report.figures.training import draw_median, without_numbers
from rnnstudy.runs.run import TaskFacts

_MOST_MARKS = 4  # lags that can be told apart in a small figure
_MOST_MAPS = 12  # heatmaps that one figure still shows well
_BOUND = (0, (7, 2, 1.5, 2))
_ROOM = 0.4  # of the decades of the curves, for bounds above them


def lag_figures(layout: Layout) -> list[Figure]:
    """Return figures of norms against lag at the first probe (dashed) and the last (solid), and of their bound."""
    figures: list[Figure] = []
    if not any(line.summary.logs.gradient for line in layout.lines):
        return figures
    for page in panel_figures(layout, "‖∂loss/∂h‖ per sequence", share_x=False, star=True):  # runs differ in length
        _, first = page.panels[0]
        first.set_yscale("log")
        marked = [_draw_panel(axes, panel.lines) for panel, axes in page.panels]
        low, high = first.get_ylim()
        drawn = [_draw_bound(axes, line) for panel, axes in page.panels for line in panel.lines]
        bounds = [bound for bound in drawn if bound is not None]
        # A bound may leave the axes: that of a network above 1 would leave nothing of the curves.
        if bounds:
            room = 10.0 ** min(math.log10(high) + _ROOM * (math.log10(high) - math.log10(low)), 300)
            first.set_ylim(low, min(room, max(high, *bounds)))
        page.key.append(Line2D([], [], color=GREY, linestyle="--", linewidth=1.6, label="first probe"))
        page.key.append(Line2D([], [], color=GREY, linestyle="-", linewidth=2.0, label="last probe"))
        if any(marked):
            page.key.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1.6, label="lag of the information"))
        if bounds:
            page.key.append(Line2D([], [], color=GREY, linestyle=_BOUND, linewidth=1.4, label="bound of theory"))
        figures.append(page.figure)
    align(figures)
    for figure in figures:
        _tick_decades(figure.axes)
    return figures


def bound_of_theory(summary: Summary) -> np.ndarray | None:
    """Return log10 of the largest norm that theory allows at each lag, shape `(lag,)`; None where there is no bound.

    At the last probe, median over the replicas: bound(lag) = norm(lag 0) * gain^lag with gain = gamma * ||W_hh||, for
    vanilla networks with the loss at the last time step alone (Pascanu, Mikolov & Bengio, 2013, section 2.1).
    """
    gain, curve = summary.logs.gain, summary.logs.gradient
    if gain is None or curve is None or not summary.facts.loss_at_end:
        return None
    gains = log10_norms(gain.carried()[-1, curve.logged_replicas()])
    logs = log10_norms(curve.last()[:, -1])[:, None] + gains[:, None] * np.arange(curve.values.shape[2])
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
        curve = line.summary.logs.gradient
        if curve is None:
            continue
        for norms, style in ((curve.first(), "--"), (curve.last(), "-")):
            _draw_lags(axes, norms, line, style=style)
            zeros += int((norms == 0).sum())
            others += int((~np.isfinite(norms)).sum())
    empty = not any(np.isfinite(np.asarray(line.get_ydata())).any() for line in axes.lines)
    if empty:
        without_numbers(axes)
    axes.set_xlabel(f"lag (time steps before the end){_undrawn(zeros, others)}", color=INK)
    return not empty and _mark_information(axes, lines[0].summary.facts)


def _mark_information(axes: Axes, facts: TaskFacts) -> bool:
    """Mark the lags that carry the information unless they are many; return whether they are marked."""
    if not 0 < len(facts.informative_steps) <= _MOST_MARKS:
        return False
    for step in facts.informative_steps:
        axes.axvline(facts.seq_len - 1 - step, color=GREY, linestyle=":", linewidth=1.6)
    return True


def _tick_decades(grid: Sequence[Axes]) -> None:
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


def _draw_lags(axes: Axes, norms: np.ndarray, line: Line, *, style: str) -> None:
    logs = log10_norms(norms[:, ::-1])
    lags = np.arange(logs.shape[1])
    middle = ordered_median(logs, axis=0)
    with np.errstate(under="ignore"):
        shown = 10.0 ** np.where(np.isfinite(middle), middle, np.nan)
        if style == "-":
            draw_median(axes, line, lags, 10.0 ** np.where(np.isfinite(logs), logs, np.nan).T, middle=shown)
        else:
            axes.plot(lags, shown, color=line.color, linestyle=style, linewidth=0.75 * line.width)


def heatmap_figures(summaries: Sequence[Summary]) -> list[Figure]:
    """Return figures with one map per run, side by side, all on one colour scale."""
    tracks = [(summary, track) for summary in summaries if (track := summary.logs.gradient) is not None]
    maps = [
        (summary, track.steps, ordered_median(log10_norms(track.carried()[:, track.logged_replicas()]), axis=1))
        for summary, track in tracks
    ]
    color_range = shared_range([values for *_, values in maps])
    return [_maps_figure(maps[start : start + _MOST_MAPS], color_range) for start in range(0, len(maps), _MOST_MAPS)]


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
