"""Verdicts on the gradient of each replica: does it reach the information, vanish before it, explode?"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from rnnstudy.report.analysis.summary import Summary, known

FACTOR = "instrument.horizon.factor"
"""Setting that says how much of the gradient at lag 0 is within reach."""

DEFAULT_FACTOR = 100.0


class Ratios(NamedTuple):
    """log10 ratios of the gradient at the lag of the information to that at lag 0, of a run's replicas by verdict.

    Args:
        reaches: Those of at least 1 / factor.
        vanishes: Those below; `-inf` is a gradient of exactly zero.
        undefined: Those that are not finite, or of a gradient that is zero at lag 0 too.
    """

    reaches: list[float]
    vanishes: list[float]
    undefined: list[float]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of replicas of each verdict."""
        return len(self.reaches), len(self.vanishes), len(self.undefined)


def log10_factor(summary: Summary) -> float:
    """Return log10 of the run's `instrument.horizon.factor`, or of 100 where it has none above 1."""
    try:
        factor = float(summary.settings.get(FACTOR, DEFAULT_FACTOR))
    except ValueError:
        factor = DEFAULT_FACTOR
    return math.log10(factor if 1 < factor < math.inf else DEFAULT_FACTOR)


def first_ratios(summary: Summary) -> Ratios:
    """Return the ratios at the first probe, before training."""
    return _divide(summary.ratio_first, -log10_factor(summary))


def last_ratios(summary: Summary) -> Ratios:
    """Return the ratios at the last probe; a replica that diverged stopped before, and has none."""
    states = zip(summary.ratio_last, summary.status, strict=True)
    return _divide([None if state == "diverged" else ratio for ratio, state in states], -log10_factor(summary))


def explosions(summary: Summary) -> list[float]:
    """Return log10 of the largest gradient at any lag over that at lag 0, of the replicas where it is above factor."""
    limit = log10_factor(summary)
    return [growth for growth in known(summary.growth) if growth > limit]


def _divide(ratios: Sequence[float | None], limit: float) -> Ratios:
    found = Ratios([], [], [])
    for ratio in known(ratios):
        if math.isnan(ratio) or ratio == math.inf:
            found.undefined.append(ratio)
        else:
            (found.vanishes if ratio < limit else found.reaches).append(ratio)
    return found
