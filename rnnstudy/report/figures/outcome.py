"""Figures of who solved the task, when, and by how much sooner than the baseline."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnstudy.plotting.style import COLORS, DPI, GREY, INK, plain, tidy
from rnnstudy.report.analysis.naming import Entry
from rnnstudy.report.analysis.paired import BETTER, HIGHER, LOWER, WORSE, Comparison, Effect
from rnnstudy.report.analysis.phrases import contrast
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.analysis.survival import solved_curve
from rnnstudy.report.figures.panels import Layout, add_legend, arrange, panel_figure
from rnnstudy.runs.labels import short_labels

MAX_ROWS = 30
"""Configurations in the figure of paired differences."""

_MEASURES = {
    "steps_to_solve": "steps to solve: this less baseline",
    "loss": "final loss: this less baseline",
    "horizon": "horizon (time steps): this less baseline",
    "decay": "decay (powers of ten per step): this less baseline",
}


def solved_figures(summaries: Sequence[Summary], layout: Layout) -> list[Figure]:
    """Draw the solved fraction of each run that has a criterion, with its Wilson interval; hollow: still running.

    Returns:
        At most one figure.
    """
    ended = [summary for summary in summaries if summary.is_judged]
    if not ended:
        return []
    height = 0.44 if len(ended) <= 20 else 0.3
    figure = Figure(figsize=(5.6, 1.1 + height * len(ended)), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    tidy(axes)
    colors = layout.colors()
    for row, summary in enumerate(ended):
        low, high = summary.interval
        color = colors[summary.entry.name]
        axes.plot([low, high], [row, row], color=color, linewidth=2.4, solid_capstyle="butt", alpha=0.55)
        fill = "full" if summary.is_finished else "none"
        fraction = summary.solved / summary.replicas
        axes.plot([fraction], [row], marker="o", markersize=8, color=color, fillstyle=fill, clip_on=False)
        text = f"{summary.solved}/{summary.replicas}" + ("" if summary.is_finished else " so far")
        axes.annotate(text, (1.04, row), va="center", fontsize=11, color=INK, annotation_clip=False)
    axes.set_yticks(range(len(ended)), [plain(summary.entry.name, limit=36) for summary in ended])
    axes.tick_params(labelsize=11)  # read at half size on a phone
    axes.set_ylim(len(ended) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("fraction solved, Wilson 95 % interval", color=INK, fontsize=11)
    return [figure]


def numeric_setting(summaries: Sequence[Summary]) -> str:
    """Return the numeric setting of the task with most values among the runs, e.g. "task.lag"; empty if there is none.

    A setting with one value for each configuration is none: there is nothing to join by a line.
    """
    best, most = "", 1
    for key in summaries[0].entry.settings if summaries else ():
        if not key.startswith("task."):
            continue
        lines: dict[tuple[str, ...], set[float]] = {}
        for summary in summaries:
            value = _number(summary.entry.settings[key])
            if value is not None:
                lines.setdefault(_rest(summary.entry, key), set()).add(value)
        points = max(map(len, lines.values()), default=0)
        if points > most:
            best, most = key, points
    return best


def length_figures(summaries: Sequence[Summary]) -> list[Figure]:
    """Draw the solved fraction against the numeric setting of the task that differs: one line per configuration.

    Returns:
        One figure for each handful of panels; none where no such setting differs.
    """
    ended = [summary for summary in summaries if summary.is_judged and summary.is_finished]
    key = numeric_setting(ended)
    if not key:
        return []
    lines: dict[tuple[str, ...], list[tuple[float, Summary]]] = {}
    for summary in ended:
        value = _number(summary.entry.settings[key])
        if value is not None:
            lines.setdefault(_rest(summary.entry, key), []).append((value, summary))
    points = {rest: sorted(found, key=lambda point: point[0]) for rest, found in lines.items()}
    entries = {rest: _without(found[0][1].entry, key) for rest, found in points.items()}
    by_name = {entries[rest].name: found for rest, found in points.items()}
    values = sorted({value for found in points.values() for value, _ in found})
    logarithmic = values[0] > 0 and values[-1] / values[0] >= 8
    figures: list[Figure] = []
    for page in arrange(list(entries.values())).pages():
        figure, grid = panel_figure(page)
        for panel, axes in zip(page.panels, grid, strict=True):
            if logarithmic:
                axes.set_xscale("log")
            axes.set_xticks(values, [f"{value:g}" for value in values])
            axes.minorticks_off()
            for number, line in enumerate(panel.lines):
                shift = (number - (len(panel.lines) - 1) / 2) / max(len(panel.lines) - 1, 1)
                x = _shifted(values, [value for value, _ in by_name[line.entry.name]], shift, logarithmic=logarithmic)
                _draw_fractions(axes, x, [each for _, each in by_name[line.entry.name]], line.color, line.marker)
            axes.set_ylim(-0.03, 1.03)
            axes.set_xlabel(key.partition(".")[2], color=INK)
        for axes in grid[:: page.columns]:
            axes.set_ylabel("fraction solved", color=INK)
        add_legend(figure, grid, page)
        figures.append(figure)
    return figures


def solving_figures(summaries: Sequence[Summary], layout: Layout) -> list[Figure]:
    """Draw the fraction solved over training: 1 - Kaplan-Meier, with its 95 % band.

    Returns:
        One figure for each handful of panels in which anything was solved.
    """
    drawn = {summary.entry.name: summary for summary in summaries if summary.is_judged}
    solved = {name for name, summary in drawn.items() if summary.solved}
    panels = [panel for panel in layout.panels if any(line.entry.name in solved for line in panel.lines)]
    if not panels:
        return []
    figures: list[Figure] = []
    for page in replace(layout, panels=tuple(panels)).pages():
        figure, grid = panel_figure(page)
        for panel, axes in zip(page.panels, grid, strict=True):
            for line in panel.lines:
                if line.entry.name not in drawn:
                    continue
                steps, fraction, low, high = solved_curve(drawn[line.entry.name])
                axes.fill_between(steps, low, high, step="post", color=line.color, alpha=0.12, linewidth=0)
                axes.step(steps, fraction, where="post", color=line.color, linewidth=line.width)
                axes.plot(steps[-1], fraction[-1], marker=line.marker, markersize=6, color=line.color, clip_on=False)
            axes.set_xlabel("training step", color=INK)
            axes.set_ylim(-0.03, 1.03)
        for axes in grid[:: page.columns]:
            axes.set_ylabel("fraction solved", color=INK)
        add_legend(figure, grid, page)
        figures.append(figure)
    return figures


_LEAST_SPAN = {"steps_to_solve": 2.0, "loss": 1e-3, "horizon": 1.0, "decay": 1e-3}
"""Widths of the axes of differences, at least: an axis of rounding errors would make them look large."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    label: str
    effects: dict[str, Effect]


def paired_figures(comparisons: Sequence[Comparison]) -> list[Figure]:
    """Draw the mean difference to the baseline with its 95 % interval, one row per configuration.

    Returns:
        At most one figure, of the first MAX_ROWS comparisons that have a difference.
    """
    rows = [
        _Row(
            label=", ".join(filter(None, [contrast(comparison).this, contrast(comparison).place])),
            effects={effect.measure: effect for effect in comparison.effects if effect.difference is not None},
        )
        for comparison in comparisons
    ]
    measures = [measure for measure in _MEASURES if any(measure in row.effects for row in rows)]
    rows = [row for row in rows if any(measure in row.effects for measure in measures)][:MAX_ROWS]
    if not rows:
        return []
    # Two in a row: more would not fit the page.
    columns = min(len(measures), 2)
    lines = -(-len(measures) // columns)
    size = (2.6 + 3.2 * columns, (1.0 + 0.42 * len(rows)) * lines)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = list(figure.subplots(lines, columns, sharey=True, squeeze=False).flat)
    for unused in grid[len(measures) :]:
        unused.remove()
    for measure, axes in zip(measures, grid, strict=False):
        tidy(axes)
        axes.axvline(0, color=GREY, linewidth=1.3)
        for number, row in enumerate(rows):
            if measure in row.effects:
                _draw_effect(axes, number, row.effects[measure])
        if axes.get_xlim()[1] - axes.get_xlim()[0] < _LEAST_SPAN[measure]:
            axes.set_xlim(-_LEAST_SPAN[measure] / 2, _LEAST_SPAN[measure] / 2)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(_MEASURES[measure], color=INK)
    grid[0].set_yticks(range(len(rows)), [plain(row.label, limit=40) for row in rows])
    grid[0].set_ylim(len(rows) - 0.5, -0.5)
    return [figure]


def _draw_effect(axes: Axes, row: int, effect: Effect) -> None:
    assert effect.difference is not None
    looks = {BETTER: (COLORS[0], "o"), WORSE: (COLORS[1], "s"), HIGHER: (COLORS[2], "^"), LOWER: (COLORS[3], "v")}
    color, marker = looks.get(effect.verdict, (GREY, "D"))
    low, high = effect.difference.low, effect.difference.high
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([low, high], [row, row], color=color, linewidth=2.4, solid_capstyle="butt", alpha=0.6)
    axes.plot([effect.difference.value], [row], marker=marker, markersize=7, color=color)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _rest(entry: Entry, key: str) -> tuple[str, ...]:
    return tuple(value for other, value in entry.settings.items() if other != key)


def _without(entry: Entry, key: str) -> Entry:
    """Return what stands for all runs of a line: an entry that does not have the setting."""
    settings = {other: value for other, value in entry.settings.items() if other != key}
    labels = short_labels([other for other in settings if "." in other])
    others = [f"{labels[other]}={value}" for other, value in settings.items() if other in labels]
    return replace(entry, name=", ".join([entry.short, *others]), settings=settings)


def _shifted(values: Sequence[float], own: Sequence[float], shift: float, *, logarithmic: bool) -> list[float]:
    """Return places beside the true ones, so that the intervals of several lines do not hide each other."""
    if logarithmic:
        width = (values[-1] / values[0]) ** (0.04 * shift)
        return [value * width for value in own]
    return [value + 0.04 * shift * (values[-1] - values[0]) for value in own]


def _draw_fractions(axes: Axes, x: Sequence[float], found: Sequence[Summary], color: str, marker: str) -> None:
    for place, summary in zip(x, found, strict=True):
        low, high = summary.interval
        axes.plot([place, place], [low, high], color=color, linewidth=1.8, alpha=0.55, solid_capstyle="butt")
    fractions = np.array([summary.solved / summary.replicas for summary in found])
    axes.plot(x, fractions, color=color, marker=marker, markersize=7, linewidth=1.8, clip_on=False)
