"""Twins of the report's paired statistics and survival curves, in plain loops, of lists and dictionaries."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np


def restricted_times(steps: Sequence[int | None], budget: int) -> list[int]:
    """Return the time that each replica took, at most the budget."""
    times: list[int] = []
    for taken in steps:
        if taken is None or taken > budget:
            times.append(budget)
        else:
            times.append(taken)
    return times


def share_of_smaller(this: Sequence[float], that: Sequence[float]) -> float:
    """Return the share of pairs in which the first is smaller, ties half."""
    wins = ties = 0
    for mine, other in zip(this, that, strict=True):
        wins += mine < other
        ties += mine == other
    return (wins + ties / 2) / len(this)


def sign_test_p(wins: int, losses: int) -> Fraction:
    """Return the share of all ways to give each pair to one side that are as uneven as this one, or more."""
    total = wins + losses
    uneven = [
        sides for sides in itertools.product((0, 1), repeat=total) if abs(2 * sum(sides) - total) >= abs(wins - losses)
    ]
    return Fraction(len(uneven), 2**total)


def wilson_roots(successes: float, total: int) -> list[float]:
    """Return the fractions q at which the score |p - q| is z standard errors of q: p is z sqrt(q (1 - q) / n) off."""
    z, share = 1.959963984540054, successes / total
    # (p - q)^2 = z^2 q (1 - q) / n, a quadratic in q.
    roots = np.roots([1 + z * z / total, -(2 * share + z * z / total), share * share])
    return sorted(float(root) for root in roots.real)


def all_resampled_means(values: Sequence[Fraction]) -> list[Fraction]:
    """Return the mean of every resample there is, ascending: n^n of them."""
    means: list[Fraction] = []
    total = len(values)
    for chosen in itertools.combinations_with_replacement(range(total), total):
        counts = Counter(chosen)
        ways = math.factorial(total)
        for count in counts.values():
            ways //= math.factorial(count)
        means += [Fraction(sum(values[index] for index in chosen), total)] * ways
    return sorted(means)


def kaplan_meier(solved: Sequence[int], censored: Sequence[int]) -> dict[int, Fraction]:
    """Return the fraction not solved after each step at which a replica was."""
    surviving: dict[int, Fraction] = {}
    fraction = Fraction(1)
    for step in sorted(set(solved)):
        at_risk = sum(other >= step for other in (*solved, *censored))
        fraction *= 1 - Fraction(sum(other == step for other in solved), at_risk)
        surviving[step] = fraction
    return surviving
