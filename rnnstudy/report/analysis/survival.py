"""When replicas solve the task, with those that have not yet: censored, not dropped."""

import math
import warnings
from typing import NamedTuple

import numpy as np
from scipy.stats import CensoredData, ecdf, logrank

from rnnstudy.report.analysis.intervals import paired_fractions, unpaired_fractions
from rnnstudy.report.analysis.statistics import wilson_interval
from rnnstudy.report.analysis.summary import Summary


class SolvedCurve(NamedTuple):
    """Fraction of replicas that solved the task, a step function of the optimizer steps.

    Args:
        steps: Ascending, from 0 to the last step of the run; shape `(point,)`.
        fraction: From each step to the next, likewise.
        low: Lower end of its 95 % interval at each step, likewise.
        high: Upper end, likewise.
    """

    steps: np.ndarray
    fraction: np.ndarray
    low: np.ndarray
    high: np.ndarray


class MedianSteps(NamedTuple):
    """Median optimizer steps to solve with its 95 % interval; None is for what is beyond the steps done."""

    value: float | None
    low: float | None
    high: float | None


def solved_curve(summary: Summary) -> SolvedCurve:
    """Return the fraction solved against optimizer steps, for a task with a criterion: 1 - S, S by Kaplan and Meier.

        S(t) = product over the steps s <= t at which replicas solved the task of 1 - solved(s) / open(s)

    `open(s)` counts the replicas that had not solved it before. One that never did is censored at the last step of the
    run; so is one that diverged, which stays open, since no further steps would solve the task.

    The band holds at each step by itself. It is the exponential Greenwood interval, or Wilson's where that does not
    exist, with none or all of the replicas solved.

    References:
        Kaplan & Meier, Nonparametric estimation from incomplete observations, 1958 (JASA 53).
        Kalbfleisch & Prentice, The statistical analysis of failure time data, 2002, section 1.4: the interval of
        log(-log S).
    """
    outcomes = zip(summary.steps_to_solve, summary.status, strict=True)
    solved = [steps for steps, status in outcomes if steps is not None and status != "diverged"]
    done = max([summary.last_step, *solved])
    replicas = summary.replicas
    if solved:
        estimate = ecdf(CensoredData(uncensored=solved, right=[done] * (replicas - len(solved)))).cdf
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The confidence interval is undefined", RuntimeWarning)
            band = estimate.confidence_interval(0.95, method="log-log")
        steps, fraction = estimate.quantiles, np.clip(estimate.probabilities, 0, 1)
        low, high = band.low.probabilities, band.high.probabilities
    else:
        steps, fraction, low, high = (np.empty(0) for _ in range(4))
    if not len(steps) or steps[0] > 0:
        steps, fraction, low, high = (np.insert(each, 0, 0) for each in (steps, fraction, low, high))
    if steps[-1] < done:
        steps = np.append(steps, done)
        fraction, low, high = (np.append(each, each[-1]) for each in (fraction, low, high))
    for count, ends in ((0, fraction <= 0), (replicas, fraction >= 1)):
        low[ends], high[ends] = wilson_interval(count, replicas)
    return SolvedCurve(steps=steps, fraction=fraction, low=low, high=high)


def median_steps_to_solve(summary: Summary) -> MedianSteps:
    """Return the median of the optimizer steps to solve a task with a criterion, with censoring.

    It is the step at which the curve of `solved_curve` crosses one half, or the middle of the stretch where it stays
    there. The interval is from the first step with a solved replica at which the band's upper end reaches one half to
    the first at which its lower end does.

    References:
        Brookmeyer & Crowley, A confidence interval for the median survival time, 1982 (Biometrics 38).
    """
    curve = solved_curve(summary)
    reached, passed = (_first(curve.steps, curve.fraction > half) for half in (0.5 - 1e-9, 0.5 + 1e-9))
    return MedianSteps(
        value=None if reached is None or passed is None else (reached + passed) / 2,
        low=_first(curve.steps, (curve.high >= 0.5) & (curve.fraction > 0)),
        high=_first(curve.steps, curve.low >= 0.5),
    )


class SolvedDifference(NamedTuple):
    """Difference of two fractions solved, this less its baseline, a step function of the optimizer steps.

    Args:
        steps: Ascending, from 0 to the budget; shape `(point,)`.
        difference: From each step to the next, likewise.
        low: Lower end of its 95 % interval at each step by itself, likewise.
        high: Upper end, likewise.
    """

    steps: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray


def solved_difference(summary: Summary, baseline: Summary, budget: int) -> SolvedDifference:
    """Return the difference of the fractions solved up to a budget to which all replicas of both runs are known.

    Over the pairs of replicas with the same seed, where there are any; the interval is that of `intervals`.
    """
    this, that = ({seed: _time(run, place) for place, seed in enumerate(run.seeds)} for run in (summary, baseline))
    shared = sorted(this.keys() & that.keys())
    times = {time for each in (this, that) for time in each.values() if time <= budget}
    steps = sorted({0, budget, *map(int, times)})
    found = []
    for step in steps:
        if shared:
            sides = [(this[seed] <= step) - (that[seed] <= step) for seed in shared]
            found.append(paired_fractions(sides.count(1), sides.count(-1), len(shared)).ends)
        else:
            counts = [(sum(time <= step for time in each.values()), len(each)) for each in (this, that)]
            found.append(unpaired_fractions(*counts[0], *counts[1]).ends)
    difference, low, high = np.array(found).T
    return SolvedDifference(steps=np.array(steps), difference=difference, low=low, high=high)


def crossing(summary: Summary, baseline: Summary, budget: int) -> int | None:
    """Return the optimizer step at which the run that led in the fraction solved falls behind; None if none does."""
    curve = solved_difference(summary, baseline, budget)
    signs = np.sign(curve.difference)
    turned = np.flatnonzero(signs == -next((sign for sign in signs if sign), math.nan))
    return int(curve.steps[turned[0]]) if turned.size else None


def log_rank(summary: Summary, baseline: Summary, budget: int) -> float | None:
    """Return the two-sided p-value of the log-rank test of the times to solve, censored at a budget.

    None where neither run solved the task in any replica. Replicas count as independent, also those of one seed.

    References:
        Mantel, Evaluation of survival data and two new rank order statistics arising in its consideration, 1966
        (Cancer Chemotherapy Reports 50).
    """
    times = [[_time(run, place) for place in range(run.replicas)] for run in (summary, baseline)]
    solved = [[time for time in each if time <= budget] for each in times]
    if not any(solved):
        return None
    this, that = (
        CensoredData(uncensored=known, right=[budget] * (len(each) - len(known)))
        for each, known in zip(times, solved, strict=True)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        found = float(logrank(this, that).pvalue)
    return 1.0 if math.isnan(found) else found


def _time(run: Summary, replica: int) -> float:
    """Return when a replica solved the task; infinity where it did not."""
    taken = run.steps_to_solve[replica]
    return math.inf if taken is None or run.status[replica] == "diverged" else taken


def _first(steps: np.ndarray, found: np.ndarray) -> float | None:
    return float(steps[found.argmax()]) if found.any() else None
