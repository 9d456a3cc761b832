"""Measures of two runs brought together: their values, the difference, and what is tested.

`comparison` states the rules.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import pstdev

import numpy as np
from scipy.stats import rankdata

from rnnstudy.report.analysis.intervals import (
    Estimate,
    difference_of_means,
    mean_interval,
    paired_fractions,
    unpaired_fractions,
)
from rnnstudy.report.analysis.power import replicas_for_fractions, replicas_for_mean
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.analysis.tests import boschloo, permuted_means
from rnnstudy.runs.digest import PerReplica
from rnnstudy.runs.plan import MEASURES

NAMES = {
    "solved": "fraction solved",
    "steps_to_solve": "mean time to solve",
    "diverged": "fraction diverged",
    "loss": "final loss",
    "largest_norm": "largest norm",
    "spikes": "spikes",
    "horizon": "horizon",
    "decay": "decay",
}
"""Names of the measures, for people."""

FRACTIONS = frozenset({"solved", "diverged"})

SMALLER_IS_BETTER = frozenset({"steps_to_solve", "diverged", "loss"})

JUDGED = SMALLER_IS_BETTER | {"solved"}
"""Measures with a better and a worse end."""

_ENOUGH_CENSORED = 16  # pairs from which on an interval is not rough though half of them are at a bound


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A measure in two runs.

    Args:
        measure: One of MEASURES.
        is_primary: Whether it is the comparison's primary measure.
        seeds: Seeds of the pairs; None for unpaired runs.
        this: Values of the run, one per pair, or per replica.
        that: Values of the baseline.
        bounds: Smallest and largest value that can be measured.
    """

    measure: str
    is_primary: bool
    seeds: tuple[int, ...] | None
    this: tuple[float, ...]
    that: tuple[float, ...]
    bounds: tuple[float, float]

    @property
    def size(self) -> int:
        """Pairs, or replicas of the smaller run."""
        return min(len(self.this), len(self.that))

    @cached_property
    def finite(self) -> list[tuple[float, float]]:
        """Pairs whose values are both finite."""
        return [pair for pair in zip(self.this, self.that, strict=False) if math.isfinite(pair[0] - pair[1])]

    @property
    def left_out(self) -> int:
        """Pairs, or replicas of either run, with a value that is not finite."""
        if self.seeds is not None:
            return len(self.this) - len(self.finite)
        return sum(not math.isfinite(value) for value in (*self.this, *self.that))

    @cached_property
    def scores(self) -> np.ndarray:
        """1 where the run is better (or higher) than its baseline, 1/2 in a tie, 0 where it is worse."""
        sign = 1 if self.measure in SMALLER_IS_BETTER else -1
        both = self.this, self.that
        this, that = (np.array([sign * x if math.isfinite(x) else math.inf for x in each]) for each in both)
        if self.seeds is None:
            this = this[:, None]
        return np.where(this == that, 0.5, (this < that).astype(float)).ravel()

    @property
    def flips(self) -> dict[int, float]:
        """Numbers whose signs are flipped, by seed: differences, or who is better where some are not finite."""
        signs, differences = 2 * self.scores - 1, [this - that for this, that in self.finite]
        found = signs.tolist() if self.left_out else differences
        return dict(zip(self.seeds or (), found, strict=True))

    @property
    def is_at_limit(self) -> bool:
        """Whether all values of both runs are the largest, or the smallest, that can be measured."""
        values = {*self.this, *self.that}
        return len(values) == 1 and not values.isdisjoint(self.bounds)

    @property
    def at_bound(self) -> int:
        """Pairs with a value at a bound."""
        return sum(not {this, that}.isdisjoint(self.bounds) for this, that in self.finite)


FiguresAt = Callable[[Summary, int], Mapping[str, PerReplica]]
"""From a run and an optimizer step to its loss, horizon and decay as they were then."""


def measured(summary: Summary, budget: int, at_step: int | None, figures_at: FiguresAt) -> dict[str, PerReplica]:
    """Return the replicas' values; the time of one that did not solve the task within the budget is the budget."""
    steps = tuple(
        float(budget if taken is None or status == "diverged" else min(taken, budget))
        for taken, status in zip(summary.steps_to_solve, summary.status, strict=True)
    )
    solved = tuple(
        float(taken is not None and status != "diverged" and taken <= budget)
        for taken, status in zip(summary.steps_to_solve, summary.status, strict=True)
    )
    found: dict[str, PerReplica] = {"solved": solved, "steps_to_solve": steps}
    if at_step is not None:
        return dict.fromkeys(MEASURES, (None,) * summary.replicas) | found | dict(figures_at(summary, at_step))
    return found | {
        "diverged": tuple(float(status == "diverged") for status in summary.status),
        "loss": summary.loss,
        "largest_norm": tuple(math.log10(norm) if norm and norm > 0 else None for norm in summary.largest_norm),
        "spikes": summary.spikes,
        "horizon": summary.horizon,
        "decay": summary.decay,
    }


def take_sample(
    measure: str,
    runs: tuple[Summary, Summary],
    values: tuple[Mapping[str, PerReplica], Mapping[str, PerReplica]],
    *,
    seeds: Sequence[int],
    budget: int,
    is_primary: bool,
) -> Sample | None:
    """Return a measure in a run and its baseline; None where it was logged in no pair, or not in both.

    `values` are those of `measured` for each; `seeds` are the shared ones, none for independent samples.
    """
    cap = float(min(run.facts.longest_lag for run in runs))
    bounds = {"horizon": (math.nan, cap), "steps_to_solve": (math.nan, float(budget))}
    bounds |= dict.fromkeys(FRACTIONS, (0.0, 1.0))
    this, that = (
        {seed: value for seed, value in zip(run.seeds, each[measure], strict=True) if value is not None}
        for run, each in zip(runs, values, strict=True)
    )
    logged = tuple(seed for seed in seeds if seed in this and seed in that)
    if not (logged if seeds else this and that):
        return None
    return Sample(
        measure=measure,
        is_primary=is_primary,
        seeds=logged if seeds else None,
        this=tuple(this[seed] for seed in logged) if seeds else tuple(this.values()),
        that=tuple(that[seed] for seed in logged) if seeds else tuple(that.values()),
        bounds=bounds.get(measure, (math.nan, math.nan)),
    )


def difference_of(sample: Sample) -> Estimate | None:
    """Return the difference with its interval; None without finite values."""
    this, that = sample.this, sample.that
    if sample.measure in FRACTIONS:
        if sample.seeds is None:
            return unpaired_fractions(round(sum(this)), len(this), round(sum(that)), len(that))
        gained, lost = (sum(a - b == sign for a, b in sample.finite) for sign in (1, -1))
        return paired_fractions(gained, lost, sample.size)
    if sample.seeds is None:
        finite = [[value for value in each if math.isfinite(value)] for each in (this, that)]
        return difference_of_means(*finite) if all(finite) else None
    differences = [a - b for a, b in sample.finite]
    cut = 2 * sample.at_bound >= len(differences) and len(differences) < _ENOUGH_CENSORED
    return mean_interval(differences, rough=cut) if differences else None


def unpaired_p(sample: Sample, seed: int) -> float:
    """Return the p-value of a sample without pairs."""
    this, that = sample.this, sample.that
    if sample.measure in FRACTIONS:
        return boschloo(round(sum(this)), len(this), round(sum(that)), len(that))
    if sample.left_out:
        sign = 1 if sample.measure in SMALLER_IS_BETTER else -1
        ranks = rankdata([sign * x if math.isfinite(x) else math.inf for x in (*this, *that)])
        this, that = tuple(ranks[: len(this)].tolist()), tuple(ranks[len(this) :].tolist())
    return permuted_means(tuple(sorted(this)), tuple(sorted(that)), seed)


def replicas_needed(sample: Sample) -> int | None:
    """Return how many replicas would show the difference seen."""
    if sample.measure in FRACTIONS:
        this, that = (sum(each) / len(each) for each in (sample.this, sample.that))
        return replicas_for_fractions(this, that)
    differences = [this - that for this, that in sample.finite]
    if sample.seeds is None or len(differences) < 2 or sample.left_out:
        return None
    scale = max(map(abs, differences)) or 1.0
    differences = [each / scale for each in differences]
    spread = pstdev(differences) * math.sqrt(len(differences) / (len(differences) - 1))
    return replicas_for_mean(round(math.fsum(differences) / len(differences) / spread, 3)) if spread else None


def known_steps(summary: Summary) -> float:
    """Return the optimizer steps up to which all replicas are known: infinity where each solved it or diverged."""
    settled = all(status in {"solved", "diverged"} for status in summary.status)
    return math.inf if settled else summary.last_step
