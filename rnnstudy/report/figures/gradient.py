"""Figures of the gradient on its way back through time."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from rnnstudy.plotting.heatmap import draw_heatmap, extend_of, log10_norms, shared_range, special_handles
from rnnstudy.plotting.style import DPI, GREY, INK, align, decades, plain
from rnnstudy.report.analysis.naming import Entry, is_edited
from rnnstudy.report.analysis.statistics import ordered_median, top_curve
from rnnstudy.report.figures.panels import Layout, Line, add_legend, panel_figure
from rnnstudy.report.figures.training import draw_band, without_numbers
from rnnstudy.runs.logs import Track
from rnnstudy.runs.run import Run, TaskFacts

_MOST_MARKS = 4  # lags that can be told apart in a small figure
_MOST_MAPS = 12  # heatmaps that one figure still shows well
_BOUND = (0, (7, 2, 1.5, 2))
_ROOM = 0.4  # of the decades of the curves, for bounds above them


def lag_figures(layout: Layout) -> list[Figure]:
    """Draw gradient norms against lag at the first probe (dashed) and the last (solid), and the bound of theory.

    Returns:
        One figure for each handful of panels; none if no run logged gradients.
    """
    if not any(top_curve(line.entry.run) for panel in layout.panels for line in panel.lines):
        return []
    figures: list[Figure] = []
    for page in layout.pages():
        figure, grid = panel_figure(page, share_x=False)  # runs differ in length
        grid[0].set_yscale("log")
        marked = [_draw_panel(axes, panel.lines) for panel, axes in zip(page.panels, grid, strict=True)]
        low, high = grid[0].get_ylim()
        bounds = [
            bound
            for panel, axes in zip(page.panels, grid, strict=True)
            for line in panel.lines
            if (bound := _draw_bound(axes, line)) is not None
        ]
        # A bound may leave the axes: that of a network above 1 would leave nothing of the curves.
        if bounds:
            room = 10.0 ** min(math.log10(high) + _ROOM * (math.log10(high) - math.log10(low)), 300)
            grid[0].set_ylim(low, min(room, max(high, *bounds)))
        for axes in grid[:: page.columns]:
            axes.set_ylabel("‖∂loss/∂h‖ per sequence", color=INK)
        extra = [
            Line2D([], [], color=GREY, linestyle="--", linewidth=1.6, label="first probe"),
            Line2D([], [], color=GREY, linestyle="-", linewidth=2.0, label="last probe"),
        ]
        if any(marked):
            extra.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1.6, label="lag of the information"))
        if bounds:
            extra.append(Line2D([], [], color=GREY, linestyle=_BOUND, linewidth=1.4, label="bound of theory"))
        add_legend(figure, grid, page, extra=extra, star=True)
        figures.append(figure)
    align(figures)
    for figure in figures:
        _tick_decades(figure.axes)
    return figures


def bound_of_theory(run: Run) -> np.ndarray | None:
    """Return log10 of the largest norm that theory allows at each lag, last probe, median of the replicas.

    bound(lag) = norm(lag 0) * gain^lag with gain = gamma * ||W_hh||, of vanilla networks with the loss at the last
    time step alone (Pascanu, Mikolov & Bengio, 2013, section 2.1).

    Returns:
        Shape `(lag,)`; None where there is no such bound.
    """
    layers = {tag: track for tag, track in run.metrics.items() if tag.startswith("gain_bound/layer_")}
    curve = top_curve(run)
    if not layers or curve is None or not run.facts.loss_at_end:
        return None
    top = max(layers, key=lambda tag: int(tag.rpartition("_")[2]))
    replicas = curve.logged_replicas()
    gains = log10_norms(layers[top].carried()[-1, replicas])
    logs = log10_norms(curve.last()[:, -1])[:, None] + gains[:, None] * np.arange(curve.values.shape[2])
    return ordered_median(logs, axis=0)


def _draw_bound(axes: Axes, line: Line) -> float | None:
    """Draw the bound of theory.

    Returns:
        Its largest value; None if there is none, or none that is finite.
    """
    bound = bound_of_theory(line.entry.run)
    if bound is None:
        return None
    within = np.where(np.abs(bound) < 300, bound, np.nan)  # beyond, a float has no power of ten
    if not np.isfinite(within).any():
        return None
    axes.plot(10.0**within, color=line.color, linestyle=_BOUND, linewidth=1.4)
    return float(10.0 ** np.max(within, where=np.isfinite(within), initial=-300))


def _draw_panel(axes: Axes, lines: Sequence[Line]) -> bool:
    """Draw the curves of a panel.

    Returns:
        Whether the lags of the information were marked.
    """
    zeros = others = 0
    for line in lines:
        curve = top_curve(line.entry.run)
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
    return not empty and _mark_information(axes, lines[0].entry.run.facts)


def _mark_information(axes: Axes, facts: TaskFacts) -> bool:
    """Mark the lags that carry the information, unless they are many.

    Returns:
        Whether any was marked.
    """
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
    finite = np.where(np.isfinite(logs), logs, np.nan)
    with np.errstate(under="ignore"):
        if style == "-":
            draw_band(axes, lags, 10.0**finite, color=line.color)
        shown = 10.0 ** np.where(np.isfinite(middle), middle, np.nan)
    axes.plot(
        lags, shown, color=line.color, linestyle=style, linewidth=line.width if style == "-" else 0.75 * line.width
    )
    drawn = np.flatnonzero(np.isfinite(shown))
    if style == "-" and drawn.size:
        axes.plot(lags[drawn[-1]], shown[drawn[-1]], marker=line.marker, markersize=6, color=line.color)


def heatmap_figures(entries: Sequence[Entry]) -> list[Figure]:
    """Return figures with one map per run, side by side, all on one colour scale."""
    tracks = [(entry, track) for entry in entries if (track := top_curve(entry.run)) is not None]
    maps = [ordered_median(log10_norms(track.carried()[:, track.logged_replicas()]), axis=1) for _, track in tracks]
    return [
        _maps_figure(tracks[start : start + _MOST_MAPS], maps[start : start + _MOST_MAPS], shared_range(maps))
        for start in range(0, len(maps), _MOST_MAPS)
    ]


def _maps_figure(
    tracks: Sequence[tuple[Entry, Track]], maps: Sequence[np.ndarray], color_range: tuple[float, float]
) -> Figure:
    columns = 1 if len(maps) == 1 else 2 if len(maps) in {2, 4} else 3
    rows = -(-len(maps) // columns)
    width = 5.6 if columns == 1 else 3.8 * columns
    figure = Figure(figsize=(width, 2.7 * rows + 0.6), dpi=DPI, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in grid[len(maps) :]:
        unused.remove()
    mesh = None
    for number, ((entry, track), values, axes) in enumerate(zip(tracks, maps, grid, strict=False)):
        marks = entry.run.facts.informative_steps
        mesh = draw_heatmap(axes, steps=track.steps, values=values, value_range=color_range, informative_steps=marks)
        axes.spines[:].set_visible(False)
        for line in axes.lines:
            if line.get_marker() == "v":
                line.set_color(INK)  # black would be lost on a dark page
        title = plain(entry.name, limit=38) + ("*" if is_edited(entry) else "")
        axes.set_title(title, fontsize=11, loc="left", color=INK, pad=9)
        if number + columns >= len(maps):
            axes.set_xlabel("time step", color=INK)
        if number % columns == 0:
            axes.set_ylabel("training step", color=INK)
    assert mesh is not None
    bar = figure.colorbar(mesh, ax=grid[: len(maps)], extend=extend_of(maps, color_range), aspect=15 * rows)
    bar.set_label("log10 of gradient norm", color=INK)
    if handles := _map_handles([entry for entry, _ in tracks], maps):
        figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=10)
    return figure


def _map_handles(entries: Sequence[Entry], maps: Sequence[np.ndarray]) -> list[Artist]:
    handles = special_handles(maps)
    if any(0 < len(entry.run.facts.informative_steps) < entry.run.facts.seq_len for entry in entries):
        label = "time step with the information"
        handles.append(Line2D([], [], linestyle="none", marker="v", markersize=7, color=INK, label=label))
    return handles
