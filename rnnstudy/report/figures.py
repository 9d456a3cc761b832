"""The figures of a report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from rnnstudy.report.canvas import DPI, INK, Layout, Line, add_legend, arrange, panel_figure, plain, tidy, to_png
from rnnstudy.report.naming import Entry
from rnnstudy.report.read import NO_CRITERION, Facts
from rnnstudy.report.statistics import ordered_median, top_curve, wilson_interval
from rnnstudy.writers.heatmap import draw_heatmap, extend_of, log10_norms, shared_range, special_handles

MAX_MAPS = 60
_MOST_MARKS = 4  # lags that can be told apart in a small figure
"""Heatmaps drawn; a sweep of more runs is cut, and the report says so."""

FILES = ("solved.png", "grad_norm_by_lag.png", "accuracy.png", "loss.png", "heatmaps.png")


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A finished figure.

    Args:
        file: Name of the PNG file.
        png: Its bytes.
        alt: What it shows, in words.
    """

    file: str
    png: bytes
    alt: str

    @property
    def pixels_wide(self) -> int:
        """Width of the image: bytes 16 to 19 of any PNG."""
        return int.from_bytes(self.png[16:20], "big")


def draw_all(entries: Sequence[Entry]) -> dict[str, Drawing]:
    """Draw every figure the runs have data for.

    Returns:
        File name to figure.
    """
    layout = arrange(entries)
    figures = {
        "solved.png": (solved_figure(entries, layout), "Fraction of replicas that solved the task"),
        "grad_norm_by_lag.png": (lag_figure(layout), "Gradient norm against lag"),
        "accuracy.png": (curves_figure(layout, "eval/accuracy"), "Accuracy over training"),
        "loss.png": (curves_figure(layout, "eval/loss"), "Loss over training"),
        "heatmaps.png": (heatmap_figure(entries), "Gradient norm over time steps and training"),
    }
    names = ", ".join(entry.name for entry in entries)
    return {
        file: Drawing(file=file, png=to_png(figure), alt=f"{what}: {names}")
        for file, (figure, what) in figures.items()
        if figure is not None
    }


def solved_figure(entries: Sequence[Entry], layout: Layout) -> Figure | None:
    """Return a figure of the solved fraction of each finished run that has a criterion, with its Wilson interval."""
    ended = [
        (entry, entry.run.result)
        for entry in entries
        if entry.run.result is not None and entry.run.facts.solved_when != NO_CRITERION
    ]
    if not ended:
        return None
    figure = Figure(figsize=(6.4, 1.1 + 0.44 * len(ended)), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    tidy(axes)
    colors = layout.colors()
    for row, (entry, result) in enumerate(ended):
        solved, total = result.status.count("solved"), len(result.status)
        low, high = wilson_interval(solved, total)
        color = colors[entry.name]
        axes.plot([low, high], [row, row], color=color, linewidth=2.4, solid_capstyle="butt", alpha=0.55)
        axes.plot([solved / total], [row], marker="o", markersize=8, color=color, clip_on=False, zorder=4)
        axes.annotate(f"{solved}/{total}", (1.04, row), va="center", fontsize=12, color=INK, annotation_clip=False)
    axes.set_yticks(range(len(ended)), [plain(entry.name, limit=36) for entry, _ in ended])
    axes.tick_params(labelsize=12)  # read at half size on a phone
    axes.set_ylim(len(ended) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("fraction solved, Wilson 95 % interval", color=INK, fontsize=12)
    return figure


def curves_figure(layout: Layout, tag: str) -> Figure | None:
    """Draw a metric over training: median line, band from minimum to maximum, no memory dashed.

    Args:
        layout: Who shares an axes with whom.
        tag: The metric.

    Returns:
        None if no run has the metric.
    """
    lines = [line for panel in layout.panels for line in panel.lines]
    if not any(tag in line.entry.run.metrics for line in lines):
        return None
    accuracy = tag.endswith("accuracy")
    figure, grid = panel_figure(layout)
    seen: list[np.ndarray] = []
    for panel, axes in zip(layout.panels, grid, strict=True):
        seen += [drawn for line in panel.lines if (drawn := _draw_metric(axes, line, tag)) is not None]
        levels = {_chance(line.entry, accuracy=accuracy) for line in panel.lines}
        for chance in sorted(level for level in levels if level is not None):
            axes.axhline(chance, color="#666666", linestyle=(0, (5, 4)), linewidth=1.3, zorder=1)
        axes.set_xlabel("training step", color=INK)
    if accuracy:
        grid[0].set_ylim(-0.02, 1.02)
    elif _spans_decades(seen):
        grid[0].set_yscale("log")
    name = "evaluation accuracy" if accuracy else "evaluation loss"
    for axes in grid[:: layout.columns]:
        axes.set_ylabel(name, color=INK)
    level = "chance" if accuracy else "without memory"
    extra = Line2D([], [], color="#666666", linestyle=(0, (5, 4)), linewidth=1.3, label=level)
    add_legend(figure, grid, layout, extra=[extra])
    return figure


def _chance(entry: Entry, *, accuracy: bool) -> float | None:
    return entry.run.facts.chance_accuracy if accuracy else entry.run.facts.memoryless_loss


def _spans_decades(drawn: Sequence[np.ndarray]) -> bool:
    values = np.concatenate([each[np.isfinite(each)] for each in drawn] or [np.empty(0)])
    return bool(values.size) and float(values.min()) > 0 and float(values.max() / values.min()) > 30


def _draw_metric(axes: Axes, line: Line, tag: str) -> np.ndarray | None:
    track = line.entry.run.metrics.get(tag)
    if track is None:
        return None
    values = track.carried()[:, track.logged_replicas()]
    finite = np.where(np.isfinite(values), values, np.nan)
    middle = ordered_median(values, axis=1)  # the median that sorts NaN as the worst, logarithm or not
    draw_band(axes, track.steps, finite.T, color=line.color)
    axes.plot(track.steps, np.where(np.isfinite(middle), middle, np.nan), color=line.color, linewidth=2)
    drawn = np.flatnonzero(np.isfinite(middle))
    if drawn.size:
        axes.plot(track.steps[drawn[-1]], middle[drawn[-1]], marker="o", markersize=5, color=line.color)
    return finite


def draw_band(axes: Axes, x: np.ndarray, values: np.ndarray, *, color: str) -> None:
    """Fill from the smallest to the largest finite value of `(replica, x)`."""
    if len(values) < 2:
        return
    missing = np.isnan(values)
    low = np.where(missing, math.inf, values).min(axis=0)
    high = np.where(missing, -math.inf, values).max(axis=0)
    axes.fill_between(x, low, high, where=np.isfinite(low), color=color, alpha=0.18, linewidth=0)


def lag_figure(layout: Layout) -> Figure | None:
    """Return a figure of gradient norms against lag, at the first probe (dashed) and the last (solid)."""
    if not any(top_curve(line.entry.run) for panel in layout.panels for line in panel.lines):
        return None
    figure, grid = panel_figure(layout)
    grid[0].set_yscale("log")
    marked = False
    for panel, axes in zip(layout.panels, grid, strict=True):
        zeros = others = 0
        for line in panel.lines:
            curve = top_curve(line.entry.run)
            if curve is None:
                continue
            for norms, style in ((curve.first(), "--"), (curve.last(), "-")):
                _draw_lags(axes, norms, color=line.color, style=style)
                zeros += int((norms == 0).sum())
                others += int((~np.isfinite(norms)).sum())
        marked |= _mark_information(axes, panel.lines[0].entry.run.facts)
        axes.set_xlabel(f"lag (time steps before the end){_undrawn(zeros, others)}", color=INK)
    _tick_decades(grid[0])
    for axes in grid[:: layout.columns]:
        axes.set_ylabel("‖∂loss/∂h‖ per sequence", color=INK)
    extra = [
        Line2D([], [], color="#666666", linestyle="--", linewidth=1.6, label="first probe"),
        Line2D([], [], color="#666666", linestyle="-", linewidth=2.0, label="last probe"),
    ]
    if marked:
        extra.append(Line2D([], [], color="#666666", linestyle=":", linewidth=1.6, label="lag of the information"))
    add_legend(figure, grid, layout, extra=extra)
    return figure


def _mark_information(axes: Axes, facts: Facts) -> bool:
    """Mark the lags that carry the information, unless they are many.

    Returns:
        Whether any was marked.
    """
    if not 0 < len(facts.informative_steps) <= _MOST_MARKS:
        return False
    for step in facts.informative_steps:
        axes.axvline(facts.seq_len - 1 - step, color="#666666", linestyle=":", linewidth=1.6)
    return True


def _tick_decades(axes: Axes) -> None:
    """Put the ticks at round powers: matplotlib would take every 35th decade."""
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    spacing = next((step for step in (1, 2, 5, 10, 20, 50) if (high - low) / step <= 9), 100)
    powers = np.arange(math.ceil(low / spacing), math.floor(high / spacing) + 1) * spacing
    if len(powers) > 1:
        axes.yaxis.set_major_locator(FixedLocator((10.0 ** powers.astype(float)).tolist()))
        axes.yaxis.set_minor_locator(NullLocator())


def _undrawn(zeros: int, others: int) -> str:
    parts = ([f"{zeros} exact zeros"] if zeros else []) + ([f"{others} NaN or infinite"] if others else [])
    return f"\nnot drawn: {', '.join(parts)}" if parts else ""


def _draw_lags(axes: Axes, norms: np.ndarray, *, color: str, style: str) -> None:
    logs = log10_norms(norms[:, ::-1])
    lags = np.arange(logs.shape[1])
    middle = ordered_median(logs, axis=0)
    finite = np.where(np.isfinite(logs), logs, np.nan)
    with np.errstate(under="ignore"):
        if style == "-":
            draw_band(axes, lags, 10.0**finite, color=color)
        shown = 10.0 ** np.where(np.isfinite(middle), middle, np.nan)
    axes.plot(lags, shown, color=color, linestyle=style, linewidth=2.0 if style == "-" else 1.6)


def heatmap_figure(entries: Sequence[Entry]) -> Figure | None:
    """Return a figure with one map per run, side by side on one colour scale."""
    tracks = [(entry, track) for entry in entries if (track := top_curve(entry.run)) is not None][:MAX_MAPS]
    if not tracks:
        return None
    maps = [ordered_median(log10_norms(track.carried()[:, track.logged_replicas()]), axis=1) for _, track in tracks]
    color_range = shared_range(maps)
    columns = 1 if len(maps) == 1 else 2 if len(maps) in {2, 4, 6, 8} else 3
    rows = -(-len(maps) // columns)
    width = 7.6 if columns == 1 else 4.2 * columns
    figure = Figure(figsize=(width, 3.0 * rows + 0.6), dpi=DPI, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in grid[len(maps) :]:
        unused.remove()
    mesh = None
    for (entry, track), values, axes in zip(tracks, maps, grid, strict=False):
        marks = entry.run.facts.informative_steps
        mesh = draw_heatmap(axes, steps=track.steps, values=values, value_range=color_range, informative_steps=marks)
        axes.set_title(plain(entry.name, limit=44), fontsize=11, loc="left", color=INK, pad=9)
        axes.set_xlabel("time step", color=INK)
        axes.set_ylabel("training step", color=INK)
    assert mesh is not None
    bar = figure.colorbar(mesh, ax=grid[: len(maps)], extend=extend_of(maps, color_range), aspect=30)
    bar.set_label("log10 of gradient norm", color=INK)
    if handles := _map_handles(entries, maps):
        figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=10)
    return figure


def _map_handles(entries: Sequence[Entry], maps: Sequence[np.ndarray]) -> list[Artist]:
    handles = special_handles(maps)
    if any(0 < len(entry.run.facts.informative_steps) < entry.run.facts.seq_len for entry in entries):
        label = "time step with the information"
        handles.append(Line2D([], [], linestyle="none", marker="v", markersize=7, color="black", label=label))
    return handles
