"""Outcome against a numeric setting, such as the threshold of a mitigation."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnstudy.plotting.style import DPI, INK, decades, tidy
from rnnstudy.report.analysis.statistics import median_range
from rnnstudy.report.analysis.statistics import wilson_interval as wilson
from rnnstudy.report.analysis.summary import Summary, known
from rnnstudy.report.figures.outcome import by_rest, numeric_setting, without
from rnnstudy.report.figures.panels import Line, arrange

FEWEST = 3
"""Values of the setting that make a figure."""

Points = Sequence[tuple[float, Summary]]


def setting_figures(summaries: Sequence[Summary]) -> list[Figure]:
    """Return at most one figure: solved, diverged and largest norm against the setting that has most values.

    What no run did, or has, gets no axes.

    Settings of the task have figures of their own. An infinite value, which switches a limit off, stands at the end.
    """
    ended = [summary for summary in summaries if summary.is_finished]
    key = numeric_setting(ended, of_task=False, fewest=FEWEST)
    if not key:
        return []
    lines = list(by_rest(ended, key).values())
    layout = arrange([without(line[0][1], key) for line in lines])
    looks = {line.summary.name: line for line in layout.lines}
    values = sorted({value for line in lines for value, _ in line})
    places = _places(values)
    rows = {
        label: estimate
        for label, estimate, has in (
            ("fraction solved", _solved, lambda summary: summary.is_judged and summary.solved),
            ("fraction diverged", _diverged, lambda summary: summary.diverged),
            ("largest gradient norm", _largest, lambda summary: any(known(summary.largest_norm))),
        )
        if any(has(summary) for summary in ended)
    }
    if not rows:
        return []
    figure = Figure(figsize=(5.6, 0.9 + 1.7 * len(rows)), dpi=DPI, layout="constrained")
    grid: list[Axes] = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0].tolist()
    for axes, (label, estimate) in zip(grid, rows.items(), strict=True):
        tidy(axes)
        for line in lines:
            _draw(
                axes,
                [(places[value], estimate(summary)) for value, summary in line],
                looks[without(line[0][1], key).name],
            )
        axes.set_ylabel(label, color=INK)
        if estimate is _largest:
            axes.set_yscale("log")
            decades([axes])
        else:
            axes.set_ylim(-0.05, 1.05)
    grid[-1].set_xscale("log" if values[0] > 0 else "linear")
    grid[-1].set_xticks(
        list(places.values()), ["\N{INFINITY}" if math.isinf(value) else f"{value:g}" for value in values]
    )
    grid[-1].minorticks_off()
    grid[-1].set_xlabel(key, color=INK)
    if len(lines) > 1:
        handles = [axes_line for axes_line in grid[0].lines if not str(axes_line.get_label()).startswith("_")]
        figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=10)
    return [figure]


def _places(values: Sequence[float]) -> dict[float, float]:
    """Return where on the axis each value stands."""
    finite = [value for value in values if math.isfinite(value)]
    step = finite[-1] / finite[-2] if finite[0] > 0 and len(finite) > 1 else 2.0
    end = finite[-1] * step if finite[0] > 0 else finite[-1] + 1
    return {value: value if math.isfinite(value) else end for value in values}


Estimate = tuple[float, float, float]


def _fraction(count: int, total: int) -> Estimate:
    return (count / total, *wilson(count, total))


def _solved(summary: Summary) -> Estimate:
    return _fraction(summary.solved, summary.replicas)


def _diverged(summary: Summary) -> Estimate:
    return _fraction(summary.diverged, summary.replicas)


def _largest(summary: Summary) -> Estimate:
    found = known(summary.largest_norm)
    return median_range(found, nan_as=math.inf) if found else (math.nan, math.nan, math.nan)


def _draw(axes: Axes, points: Sequence[tuple[float, Estimate]], line: Line) -> None:
    for place, (_, low, high) in points:
        axes.plot([place, place], [low, high], color=line.color, linewidth=1.8, alpha=0.55, solid_capstyle="butt")
    middle = [value for _, (value, _, _) in points]
    places = [place for place, _ in points]
    look = {"color": line.color, "marker": line.marker, "markersize": 6, "linewidth": 1.8, "label": line.label}
    axes.plot(places, middle, clip_on=False, **look)
