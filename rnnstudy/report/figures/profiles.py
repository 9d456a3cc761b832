"""Figures of performance profiles: the fraction of networks at or below a threshold."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rnnstudy.plotting.style import GREY, INK
from rnnstudy.report.analysis.profiles import Level, Strata, final_losses, levels_of, profile, times_to_solve
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.figures.panels import arrange, panel_figures
from rnnstudy.report.figures.training import MOST_OF_CHANCE, spans_decades


def profile_figures(summaries: Sequence[Summary]) -> list[Figure]:
    """Return figures of the final loss, and, of several tasks or lags, of the steps to solve; one line per level.

    There is none of the loss where all networks solved the task: they stopped at about the same one.
    """
    levels = levels_of(summaries)
    if len(levels) < 2:
        return []
    all_solved = all(run.solved == run.replicas for level in levels for run in level.runs)
    losses, relative = ([], False) if all_solved else final_losses(levels)
    unit, most = (" / loss without memory", MOST_OF_CHANCE) if relative else ("", math.inf)
    figures = _profiles(levels, losses, f"final loss{unit}", most=most, guess=relative)
    if len(levels[0].runs) > 1:
        figures += _profiles(levels, times_to_solve(levels), "steps to solve / budget", most=1.0)
    return figures


def _profiles(
    levels: Sequence[Level], found: Sequence[Strata], label: str, *, most: float, guess: bool = False
) -> list[Figure]:
    """Return the figures of one quantity, of thresholds up to `most`; none where no network has a finite value."""
    profiles = {level.summary.name: profile(strata) for level, strata in zip(levels, found, strict=False)}
    values = np.concatenate([each.thresholds[1:] for each in profiles.values()] or [[]])
    if not values.size:
        return []
    low = float(values.min())
    high = max(low, min(float(values.max()), most))
    logarithmic = spans_decades([values])
    room = 0.03 * (high - low) or 0.5
    low, high = (low / 1.2, high * 1.2) if logarithmic else (low - room, high + room)
    figures: list[Figure] = []
    for page in panel_figures(arrange([level.summary for level in levels]), "fraction of networks"):
        for panel, axes in page.panels:
            for line in panel.lines:
                thresholds, *rest = profiles[line.summary.name]
                x = np.append(np.maximum(thresholds, low), max(high, thresholds[-1]))
                fraction, under, over = (np.append(each, each[-1]) for each in rest)
                axes.fill_between(x, under, over, step="post", color=line.color, alpha=0.12, linewidth=0)
                axes.step(x, fraction, where="post", color=line.color, linewidth=line.width)
                axes.plot(high, fraction[x <= high][-1], marker=line.marker, color=line.color, clip_on=False)
            if guess and low < 1 < high:
                axes.axvline(1.0, color=GREY, linestyle=(0, (5, 4)), linewidth=1.3, zorder=1)
            if logarithmic:
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter("{x:g}")
            axes.set_xlim(low, high)
            axes.set_ylim(-0.03, 1.03)
            axes.set_xlabel(label, color=INK)
        if guess and low < 1 < high:
            page.key.append(Line2D([], [], color=GREY, linestyle=(0, (5, 4)), linewidth=1.3, label="without memory"))
        figures.append(page.figure)
    return figures
