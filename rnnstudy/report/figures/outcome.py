"""Figures of the outcome: which runs solved the task, when, and how much sooner than the baseline."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnstudy.plotting.style import COLORS, DPI, GREY, INK, grid_of, plain, tidy
from rnnstudy.report.analysis.comparison import AT_LIMIT, BETTER, HIGHER, LOWER, WORSE, Comparison, Effect
from rnnstudy.report.analysis.naming import NUMBER, natural
from rnnstudy.report.analysis.phrases import contrast
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.analysis.survival import solved_curve
from rnnstudy.report.figures.panels import Layout, arrange, panel_figures
from rnnstudy.runs.labels import short_labels

MAX_ROWS = 30
"""Configurations in the figure of paired differences."""

_MEASURES = {
    "solved": ("fraction solved: this less baseline", 0.2),
    "steps_to_solve": ("steps to solve: this less baseline", 2.0),
    "diverged": ("fraction diverged: this less baseline", 0.2),
    "loss": ("final loss: this less baseline", 1e-3),
    "largest_norm": ("log10 of largest norm: this less baseline", 1e-2),
    "spikes": ("steps that spiked: this less baseline", 2.0),
    "horizon": ("horizon (time steps): this less baseline", 1.0),
    "decay": ("decay (powers of ten per step): this less baseline", 1e-3),
}
"""Names of the axes of differences, and their least widths: one of rounding errors would make them look large."""


def solved_figures(summaries: Sequence[Summary], layout: Layout) -> list[Figure]:
    """Return at most one figure: the solved fraction of each run, with its Wilson interval; hollow: still running.

    There is none where nothing was solved.
    """
    ended = [summary for summary in summaries if summary.is_judged]
    if not any(summary.solved for summary in ended):
        return []
    height = 0.44 if len(ended) <= 20 else 0.3
    figure = Figure(figsize=(5.6, 1.1 + height * len(ended)), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    tidy(axes)
    colors = layout.colors()
    for row, summary in enumerate(ended):
        low, high = summary.interval
        color = colors[summary.name]
        axes.plot([low, high], [row, row], color=color, linewidth=2.4, solid_capstyle="butt", alpha=0.55)
        fill = "full" if summary.is_finished else "none"
        fraction = summary.solved / summary.replicas
        axes.plot([fraction], [row], marker="o", markersize=8, color=color, fillstyle=fill, clip_on=False)
        text = f"{summary.solved}/{summary.replicas}" + ("" if summary.is_finished else " so far")
        axes.annotate(text, (1.04, row), va="center", fontsize=11, color=INK, annotation_clip=False)
    axes.set_yticks(range(len(ended)), [plain(summary.name, limit=36) for summary in ended])
    axes.tick_params(labelsize=11)  # read at half size on a phone
    axes.set_ylim(len(ended) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("fraction solved, Wilson 95 % interval", color=INK, fontsize=11)
    return [figure]


def numeric_setting(summaries: Sequence[Summary], *, of_task: bool = True, fewest: int = 2) -> str:
    """Return the numeric setting, of the task or of anything else, with most values on a line, e.g. "task.lag".

    It is empty if no line has the fewest values.
    """
    differing = summaries[0].differing if summaries else ()
    keys = [key for key in differing if "." in key and key.startswith("task.") == of_task]
    points = {
        key: max((len({x for x, _ in line}) for line in by_rest(summaries, key).values()), default=0) for key in keys
    }
    best = max(points, key=lambda key: points[key], default="")
    return best if points.get(best, 0) >= fewest else ""


def by_rest(summaries: Sequence[Summary], key: str) -> dict[tuple[str, ...], list[tuple[float, Summary]]]:
    """Return the runs that differ in a numeric setting alone, with its value, in the order of the values."""
    lines: dict[tuple[str, ...], list[tuple[float, Summary]]] = {}
    for summary in summaries:
        kind, value, _ = natural(summary.differing[key])
        if kind == NUMBER and not math.isnan(value):
            rest = tuple(other for name, other in summary.differing.items() if name != key)
            lines.setdefault(rest, []).append((value, summary))
    return {rest: sorted(line, key=lambda point: point[0]) for rest, line in lines.items()}


def length_figures(summaries: Sequence[Summary]) -> list[Figure]:
    """Return figures of the solved fraction against the numeric setting of the task that differs, if one does."""
    ended = [summary for summary in summaries if summary.is_judged and summary.is_finished]
    key = numeric_setting(ended)
    if not key:
        return []
    lines = list(by_rest(ended, key).values())
    layout = arrange(stands := [without(line[0][1], key) for line in lines])
    by_name = {each.name: line for each, line in zip(stands, lines, strict=True)}
    layout = layout.only(lambda stand: any(summary.solved for _, summary in by_name[stand.name]))
    values = sorted({value for line in lines for value, _ in line})
    logarithmic = values[0] > 0 and values[-1] / values[0] >= 8
    figures: list[Figure] = []
    for page in panel_figures(layout, "fraction solved"):
        for panel, axes in page.panels:
            if logarithmic:
                axes.set_xscale("log")
            axes.set_xticks(values, [f"{value:g}" for value in values])
            axes.minorticks_off()
            for number, line in enumerate(panel.lines):
                shift = (number - (len(panel.lines) - 1) / 2) / max(len(panel.lines) - 1, 1)
                own, found = zip(*by_name[line.summary.name], strict=True)
                x = _shifted(values, own, shift, logarithmic=logarithmic)
                _draw_fractions(axes, x, found, line.color, line.marker)
            axes.set_ylim(-0.03, 1.03)
            axes.set_xlabel(key.partition(".")[2], color=INK)
        figures.append(page.figure)
    return figures


def solving_figures(layout: Layout) -> list[Figure]:
    """Return figures of the fraction solved over training, 1 - Kaplan-Meier with its 95 % band, if any was solved."""
    figures: list[Figure] = []
    for page in panel_figures(layout.only(lambda summary: summary.is_judged and summary.solved > 0), "fraction solved"):
        for panel, axes in page.panels:
            for line in panel.lines:
                if not line.summary.is_judged:
                    continue
                steps, fraction, low, high = solved_curve(line.summary)
                axes.fill_between(steps, low, high, step="post", color=line.color, alpha=0.12, linewidth=0)
                axes.step(steps, fraction, where="post", color=line.color, linewidth=line.width)
                axes.plot(steps[-1], fraction[-1], marker=line.marker, markersize=6, color=line.color, clip_on=False)
            axes.set_xlabel("training step", color=INK)
            axes.set_ylim(-0.03, 1.03)
        figures.append(page.figure)
    return figures


def paired_figures(comparisons: Sequence[Comparison]) -> list[Figure]:
    """Return at most one figure: mean differences to the baseline and their 95 % intervals, of MAX_ROWS comparisons."""
    rows: list[tuple[str, dict[str, Effect]]] = []
    for comparison in comparisons:
        effects = {effect.measure: effect for effect in comparison.effects if effect.difference is not None}
        told = contrast(comparison)
        rows += [(", ".join(filter(None, [told.this, told.place])), effects)] if effects else []
    rows = rows[:MAX_ROWS]
    measures = [
        measure for measure in _MEASURES if any(_tells(effects[measure]) for _, effects in rows if measure in effects)
    ]
    if not measures:
        return []
    # Two in a row: more would not fit the page.
    columns = min(len(measures), 2)
    size = (2.6 + 3.2 * columns, (1.0 + 0.42 * len(rows)) * -(-len(measures) // columns))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = grid_of(figure, len(measures), columns, share_y=True)
    for measure, axes in zip(measures, grid, strict=True):
        label, least = _MEASURES[measure]
        tidy(axes)
        axes.axvline(0, color=GREY, linewidth=1.3)
        for number, (_, effects) in enumerate(rows):
            if measure in effects:
                _draw_effect(axes, number, effects[measure])
        if axes.get_xlim()[1] - axes.get_xlim()[0] < least:
            axes.set_xlim(-least / 2, least / 2)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(label, color=INK)
    grid[0].set_yticks(range(len(rows)), [plain(label, limit=40) for label, _ in rows])
    grid[0].set_ylim(len(rows) - 0.5, -0.5)
    return [figure]


def _tells(effect: Effect) -> bool:
    """Return whether an effect is more than the equality of two runs that have no other value."""
    assert effect.difference is not None
    return effect.verdict != AT_LIMIT and (effect.difference.value != 0 or math.isfinite(effect.difference.low))


def _draw_effect(axes: Axes, row: int, effect: Effect) -> None:
    assert effect.difference is not None
    looks = {BETTER: (COLORS[0], "o"), WORSE: (COLORS[1], "s"), HIGHER: (COLORS[2], "^"), LOWER: (COLORS[3], "v")}
    color, marker = looks.get(effect.verdict, (GREY, "D"))
    low, high = effect.difference.low, effect.difference.high
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([low, high], [row, row], color=color, linewidth=2.4, solid_capstyle="butt", alpha=0.6)
    axes.plot([effect.difference.value], [row], marker=marker, markersize=7, color=color)


def without(summary: Summary, key: str) -> Summary:
    """Return the representative of all runs of a line: a run without the setting."""
    differing = {other: value for other, value in summary.differing.items() if other != key}
    labels = short_labels([other for other in differing if "." in other])
    others = [f"{labels[other]}={value}" for other, value in differing.items() if other in labels]
    return replace(summary, name=", ".join([summary.short, *others]), differing=differing)


def _shifted(values: Sequence[float], own: Sequence[float], shift: float, *, logarithmic: bool) -> list[float]:
    """Return places beside the true ones, so that the intervals of several lines do not hide each other."""
    if logarithmic:
        return [value * (values[-1] / values[0]) ** (0.04 * shift) for value in own]
    return [value + 0.04 * shift * (values[-1] - values[0]) for value in own]


def _draw_fractions(axes: Axes, x: Sequence[float], found: Sequence[Summary], color: str, marker: str) -> None:
    for place, summary in zip(x, found, strict=True):
        low, high = summary.interval
        axes.plot([place, place], [low, high], color=color, linewidth=1.8, alpha=0.55, solid_capstyle="butt")
    fractions = np.array([summary.solved / summary.replicas for summary in found])
    axes.plot(x, fractions, color=color, marker=marker, markersize=7, linewidth=1.8, clip_on=False)
