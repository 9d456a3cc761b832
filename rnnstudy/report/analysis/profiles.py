"""Configurations over several tasks or lags put together: profiles over thresholds, and figures of all networks.

A level is a configuration without its task: model, initialisation, mitigation, and other settings that differ. A
stratum is a task with its settings, such as the lag. A level has one ended run in every stratum, and each stratum
counts equally, however many networks it has.

References:
    Agarwal et al., Deep reinforcement learning at the edge of the statistical precipice, 2021 (arXiv:2108.13264),
    section 4.2: performance profiles, of scores above a threshold; here losses and times, of which less is better,
    below one. Section 4.3: the interquartile mean and the stratified bootstrap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap, trim_mean

from rnnstudy.report.analysis.intervals import ENOUGH, Estimate
from rnnstudy.report.analysis.naming import ABSENT
from rnnstudy.report.analysis.statistics import wilson_interval
from rnnstudy.report.analysis.summary import Summary, known
from rnnstudy.runs.groups import IN_SHORT
from rnnstudy.runs.labels import short_labels

RESAMPLES = 2000

Strata = Sequence[np.ndarray]
"""A value of every network, one array per stratum; what is not finite is the worst, infinity."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A configuration in every stratum.

    Args:
        summary: Its first run, named as the level, without what differs in the task.
        runs: Its run in each stratum, in an order that all levels share.
    """

    summary: Summary
    runs: tuple[Summary, ...]


class Profile(NamedTuple):
    """Fraction of networks at or below a threshold, a step function.

    Args:
        thresholds: Minus infinity, and the finite values of the networks, ascending; shape `(point,)`.
        fraction: From each threshold to the next, likewise.
        low: Lower end of its 95 % interval at each threshold by itself, likewise.
        high: Upper end, likewise.
    """

    thresholds: np.ndarray
    fraction: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """A level over all strata, in figures.

    Args:
        level: Its name.
        networks: Networks in all strata.
        strata: Tasks or lags, each of which counts equally.
        solved: Fraction that solved the task; None where a task has no criterion.
        diverged: Fraction that diverged.
        loss: Interquartile mean of the final loss over the best guess without memory; None where that is unknown.
    """

    level: str
    networks: int
    strata: int
    solved: Estimate | None
    diverged: Estimate
    loss: Estimate | None


def levels_of(summaries: Sequence[Summary]) -> list[Level]:
    """Return the levels that have exactly one ended run in every stratum of the ended runs."""
    found: dict[tuple[str, ...], dict[tuple[str, ...], list[Summary]]] = {}
    strata: dict[tuple[str, ...], None] = {}
    for summary in summaries:
        if summary.is_finished:
            level, stratum = (tuple(each.values()) for each in _split(summary))
            found.setdefault(level, {}).setdefault(stratum, []).append(summary)
            strata[stratum] = None
    whole = [runs for runs in found.values() if [len(runs.get(stratum, ())) for stratum in strata] == [1] * len(strata)]
    return [
        Level(summary=_stand(next(iter(runs.values()))[0]), runs=tuple(runs[stratum][0] for stratum in strata))
        for runs in whole
    ]


def _split(summary: Summary) -> tuple[dict[str, str], dict[str, str]]:
    """Return what differs of a run apart from the task, and of the task."""
    parts: tuple[dict[str, str], dict[str, str]] = {}, {}
    for key, value in summary.differing.items():
        parts[key.partition(".")[0] == "task"][key] = value
    return parts


def _stand(summary: Summary) -> Summary:
    differing, _ = _split(summary)
    labels = short_labels([key for key in differing if "." in key])
    others = [
        f"{labels[key]}={value}" if key in labels else value
        for key, value in differing.items()
        if key not in IN_SHORT and value != ABSENT
    ]
    return replace(summary, name=", ".join([summary.short, *others]), differing=differing)


def final_losses(levels: Sequence[Level]) -> tuple[list[Strata], bool]:
    """Return the final losses of each level, and whether they are in units of the best guess without memory.

    They are wherever all tasks know that guess. Else the losses of several tasks have no common unit, and there are
    none; nor are there any where a run logged none. The loss of a network that stopped when it had solved the task is
    that of this moment, that of one that diverged infinite.
    """
    runs = [run for level in levels for run in level.runs]
    guesses = [run.facts.memoryless_loss or 0.0 for run in runs]
    relative = min(guesses, default=0.0) > 0
    if not all(known(run.loss) for run in runs) or not (relative or all(len(level.runs) == 1 for level in levels)):
        return [], False
    units = dict(zip((run.path for run in runs), guesses, strict=True)) if relative else {}
    return [[_losses(run) / units.get(run.path, 1.0) for run in level.runs] for level in levels], relative


def _losses(run: Summary) -> np.ndarray:
    losses = np.array([math.inf if value is None else value for value in run.loss])
    return np.where(np.isfinite(losses), losses, math.inf)


def times_to_solve(levels: Sequence[Level]) -> list[Strata]:
    """Return the steps to solve of each level as a fraction of its stratum's budget; infinity beyond that, or never.

    The budget is the fewest optimizer steps that a run of the stratum was planned for. There are no times where a task
    has no criterion.
    """
    if not all(run.is_judged for level in levels for run in level.runs):
        return []
    budgets = [min(map(_planned, runs)) for runs in zip(*(level.runs for level in levels), strict=True)]
    return [[_times(run, budget) for run, budget in zip(level.runs, budgets, strict=True)] for level in levels]


def _planned(run: Summary) -> float:
    return float(run.settings.get("train.num_steps", run.last_step))


def _times(run: Summary, budget: float) -> np.ndarray:
    outcomes = zip(run.steps_to_solve, run.status, strict=True)
    steps = [math.inf if taken is None or state == "diverged" else taken for taken, state in outcomes]
    return np.array([each / budget if each <= budget else math.inf for each in steps])


def profile(strata: Strata) -> Profile:
    """Return the fraction of networks at or below each of their values, the mean of the strata's fractions."""
    values = np.concatenate(strata)
    thresholds = np.unique([-math.inf, *values[np.isfinite(values)]])
    counts = [(each <= thresholds[:, None]).sum(axis=1) for each in strata]
    return Profile(thresholds, *_mean_fraction(counts, [len(each) for each in strata]))


def _mean_fraction(counts: Sequence[np.ndarray], sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean of the strata's fractions and the ends of its 95 % interval, each of the shape of a count.

    With p_s the fractions, [l_s, u_s] their Wilson intervals and p the mean of S strata, the ends are

        p - sqrt(sum_s (p_s - l_s)^2) / S   and   p + sqrt(sum_s (u_s - p_s)^2) / S

    With one stratum this is Wilson's interval. A bootstrap would have no width where all networks are alike.

    References:
        Zou & Donner, Construction of confidence limits about effect measures, 2008 (Statistics in Medicine 27).
    """
    ends = [np.array([wilson_interval(count, size) for count in range(size + 1)]) for size in sizes]
    fractions = np.array([count / size for count, size in zip(counts, sizes, strict=True)])
    low, high = np.moveaxis(np.array([each[count] for each, count in zip(ends, counts, strict=True)]), -1, 0)
    mean = fractions.mean(axis=0)
    below, above = (np.sqrt((each**2).sum(axis=0)) / len(sizes) for each in (fractions - low, high - fractions))
    return np.asarray(mean), np.asarray(mean - below), np.asarray(mean + above)


def stratified_mean(strata: Strata) -> Estimate:
    """Return the interquartile mean over all networks, with its interval by the stratified bootstrap.

    A quarter is cut off at each end, of a sample in which each stratum has the same weight. It is infinite where more
    than a quarter are. The interval is from the 2.5 % to the 97.5 % quantile of resamples of each stratum by itself,
    with a fixed generator. It has no ends with a stratum of one network, or without any spread, and is called rough
    below 8 networks in a stratum.
    """
    sizes = [len(each) for each in strata]
    copies = [math.lcm(*sizes) // size for size in sizes]

    def middle(*resampled: np.ndarray, axis: int = -1) -> np.ndarray:
        weighted = [np.repeat(each, times, axis=axis) for each, times in zip(resampled, copies, strict=True)]
        return np.asarray(trim_mean(np.concatenate(weighted, axis=axis), 0.25, axis=axis))

    value, rough = float(middle(*strata)), min(sizes) < ENOUGH
    if min(sizes) < 2:
        return Estimate(value=value, low=math.nan, high=math.nan, rough=True)
    options = {"n_resamples": RESAMPLES, "method": "percentile", "vectorized": True}
    with np.errstate(invalid="ignore"):  # infinities, between which scipy's own interval interpolates
        resampled = bootstrap(strata, middle, rng=np.random.default_rng(0), **options).bootstrap_distribution
    low, high = np.quantile(resampled, (0.025, 0.975), method="inverted_cdf").tolist()
    if low == high:
        low = high = math.nan
    return Estimate(value=value, low=low, high=high, rough=rough)


def aggregates(summaries: Sequence[Summary]) -> list[Aggregate]:
    """Return the figures of each level; none unless there are two levels and two strata at least."""
    levels = levels_of(summaries)
    if len(levels) < 2 or len(levels[0].runs) < 2:
        return []
    losses = final_losses(levels)[0] or [()] * len(levels)
    return [
        Aggregate(
            level=level.summary.name,
            networks=sum(run.replicas for run in level.runs),
            strata=len(level.runs),
            solved=_share(level, "solved") if all(run.is_judged for run in level.runs) else None,
            diverged=_share(level, "diverged"),
            loss=stratified_mean(own) if own else None,
        )
        for level, own in zip(levels, losses, strict=True)
    ]


def _share(level: Level, status: str) -> Estimate:
    counts = [np.array(run.status.count(status)) for run in level.runs]
    value, low, high = _mean_fraction(counts, [run.replicas for run in level.runs])
    return Estimate(value=float(value), low=float(low), high=float(high))
