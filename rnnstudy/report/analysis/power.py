"""How many replicas would show a difference of the size seen."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.stats import binom, nct, t

from rnnstudy.report.analysis.tests import FEWEST_PAIRS, LEVEL

POWER = 0.8
"""Probability with which the test of the primary measure alone would show the difference."""

MOST = 2000
"""Most replicas that are still named."""


@cache
def replicas_for_fractions(this: float, that: float) -> int | None:
    """Return the fewest pairs with which McNemar's exact test shows the difference of two fractions at `POWER`.

    The outcomes of a pair are taken to be independent. None above `MOST`, and without a difference.
    """
    gains, losses = this * (1 - that), that * (1 - this)
    if this == that:
        return None
    return _fewest(lambda pairs: mcnemar_power(pairs, gains, losses))


@cache
def replicas_for_mean(effect: float) -> int | None:
    """Return the fewest pairs with which a paired t test shows a mean difference of so many standard deviations."""
    return _fewest(lambda pairs: _t_power(pairs, abs(effect))) if effect and math.isfinite(effect) else None


def mcnemar_power(pairs: int, gains: float, losses: float) -> float:
    """Return the power of McNemar's exact test, given the probabilities of the two kinds of discordant pairs."""
    discordant = np.arange(1, pairs + 1)
    rejected = binom.ppf(LEVEL / 2, discordant, 0.5)
    rejected -= binom.cdf(rejected, discordant, 0.5) > LEVEL / 2  # most pairs on the smaller side; -1 for none
    chance, share = binom.pmf(discordant, pairs, gains + losses), gains / (gains + losses)
    shown = binom.cdf(rejected, discordant, 1 - share) + binom.cdf(rejected, discordant, share)
    return float((chance * shown).sum())


def _t_power(pairs: int, effect: float) -> float:
    limit, shift = float(t.isf(LEVEL / 2, pairs - 1)), effect * math.sqrt(pairs)
    return float(nct.sf(limit, pairs - 1, shift)) if shift < 30 else 1.0


def _fewest(power: Callable[[int], float]) -> int | None:
    """Return the fewest pairs with enough power, by bisection; None above `MOST`."""
    low, high = FEWEST_PAIRS - 1, FEWEST_PAIRS
    while power(high) < POWER:
        low, high = high, 2 * high
        if low >= MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high if high <= MOST else None
