"""The fractions solved over training of a run and its baseline, and their difference."""

from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType

from rnnstudy.plotting.style import BASELINE_COLOR, COLORS, DPI, GREY, INK, plain, tidy
from rnnstudy.report.analysis.comparison import Comparison
from rnnstudy.report.analysis.phrases import contrast
from rnnstudy.report.analysis.survival import solved_curve, solved_difference

_MOST_PAIRS = 4  # two rows of two
_TITLE = 36  # characters above a pair
_RUN, _BASELINE, _CROSSING = COLORS[0], BASELINE_COLOR, COLORS[1]
_CROSSED: LineStyleType = (0, (1.2, 1.2))


def pairs_over_training(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return a few comparisons in which a replica solved the task; those whose curves cross come first."""
    solved = [
        each for each in comparisons if each.effect("steps_to_solve") and (each.summary.solved or each.baseline.solved)
    ]
    return sorted(solved, key=lambda each: each.crossing is None)[:_MOST_PAIRS]


def difference_figures(comparisons: Sequence[Comparison]) -> list[Figure]:
    """Return at most one figure: above the two curves of each pair over training, below their difference.

    The curves are those of `solved_curve`, the difference that of `solved_difference`, each with its 95 % band, which
    holds at each step by itself. An upright marks where the curves cross.
    """
    if not comparisons:
        return []
    columns = min(len(comparisons), 2)
    rows = -(-len(comparisons) // columns)
    figure = Figure(figsize=(5.6 if columns == 1 else 7.6, 0.4 + 4.4 * rows), dpi=DPI, layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=(1.2, 1) * rows)
    for number, comparison in enumerate(comparisons):
        row, column = divmod(number, columns)
        above = figure.add_subplot(grid[2 * row, column])
        below = figure.add_subplot(grid[2 * row + 1, column], sharex=above)
        for axes, label in ((above, "fraction solved"), (below, "difference")):
            tidy(axes)
            if column == 0:
                axes.set_ylabel(label, fontsize=11, color=INK)
        _draw_pair(above, below, comparison)
    handles = [
        Line2D([], [], color=_BASELINE, linestyle="--", linewidth=2.4, label="baseline"),
        Line2D([], [], color=_RUN, linewidth=2.0, label="compared run"),
    ]
    if any(each.crossing is not None for each in comparisons):
        handles.append(Line2D([], [], color=_CROSSING, linestyle=_CROSSED, linewidth=2.0, label="the curves cross"))
    figure.legend(handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=10)
    return [figure]


def _draw_pair(above: Axes, below: Axes, comparison: Comparison) -> None:
    lines = wrap(str(contrast(comparison)), _TITLE, max_lines=2, placeholder="…")
    above.set_title("\n".join(map(plain, lines)), fontsize=11, loc="left", color=INK)
    looks = ((comparison.baseline, _BASELINE, "--", 2.4), (comparison.summary, _RUN, "-", 2.0))
    for summary, color, style, width in looks:
        steps, fraction, low, high = solved_curve(summary)
        if fraction[-1] >= 1 and steps[-1] < comparison.budget:  # it stopped, and stays there
            steps = np.append(steps, comparison.budget)
            fraction, low, high = (np.append(each, each[-1]) for each in (fraction, low, high))
        above.fill_between(steps, low, high, step="post", color=color, alpha=0.12, linewidth=0)
        above.step(steps, fraction, where="post", color=color, linestyle=style, linewidth=width)
    above.set_ylim(-0.03, 1.03)
    above.tick_params(labelbottom=False)
    steps, difference, low, high = solved_difference(comparison.summary, comparison.baseline, comparison.budget)
    below.axhline(0, color=GREY, linewidth=1.3)
    below.fill_between(steps, low, high, step="post", color=_RUN, alpha=0.18, linewidth=0)
    below.step(steps, difference, where="post", color=_RUN, linewidth=2.0)
    below.set_ylim(-1.05, 1.05)
    crossed = ""
    if comparison.crossing is not None:
        crossed = f"\nthe curves cross at step {comparison.crossing}"
        for axes in (above, below):
            axes.axvline(comparison.crossing, color=_CROSSING, linestyle=_CROSSED, linewidth=2.0, zorder=1)
    below.set_xlabel(f"training step{crossed}", fontsize=11, color=INK)
