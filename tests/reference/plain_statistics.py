"""Twins of the report's statistics, from their definitions: plain loops over lists, with fractions where they fit."""

import itertools
import math
from collections.abc import Mapping, Sequence
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


def flipped_p_values(rows: Sequence[Mapping[int, int]], primary: Sequence[bool]) -> list[tuple[Fraction, Fraction]]:
    """Return the raw and the step-down p-value of each row, by all signs of all seeds; rows are not all 0.

    The statistic is z^2 = (sum d)^2 / sum d^2, less ln 4 for a measure that is not the primary one.
    """
    seeds = sorted({seed for row in rows for seed in row})

    def statistics(signs: Sequence[int]) -> list[Fraction]:
        of = dict(zip(seeds, signs, strict=True))
        found: list[Fraction] = []
        for row, first in zip(rows, primary, strict=True):
            total = sum(of[seed] * value for seed, value in row.items())
            squares = sum(value**2 for value in row.values())
            found.append(Fraction(total**2, squares) - (0 if first else Fraction(math.log(4))))
        return found

    seen = statistics([1] * len(seeds))
    others = [statistics(signs) for signs in itertools.product((1, -1), repeat=len(seeds))]
    raw: list[Fraction] = []
    alone: list[Fraction] = []  # against the largest of all that were seen no larger
    for row, value in enumerate(seen):
        smaller = [other for other in range(len(rows)) if seen[other] <= value]
        raw.append(Fraction(sum(found[row] >= value for found in others), len(others)))
        reached = sum(max(found[other] for other in smaller) >= value for found in others)
        alone.append(Fraction(reached, len(others)))
    adjusted = [max(alone[other] for other in range(len(rows)) if seen[other] >= value) for value in seen]
    return list(zip(raw, adjusted, strict=True))


def holm_p_values(p_values: Sequence[float]) -> list[float]:
    """Return the p-values times how many are no smaller, made monotone, at most 1."""
    adjusted: list[float] = []
    for p in p_values:
        steps = [other * sum(each >= other for each in p_values) for other in p_values if other <= p]
        adjusted.append(min(1.0, max(steps)))
    return adjusted


def boschloo_p(this: int, total: int, that: int, its_total: int, *, points: int = 400) -> float:
    """Return twice the smaller one-sided p-value of Boschloo's test.

    Tables are ordered by Fisher's one-sided p-value; the probability of those as extreme as the one seen is the largest
    over common fractions, here on a grid.
    """
    tables = list(itertools.product(range(total + 1), range(its_total + 1)))

    def fisher(x: int, y: int, side: int) -> Fraction:
        both = x + y
        possible = range(max(0, both - its_total), min(total, both) + 1)
        extreme = [k for k in possible if side * k >= side * x]
        ways = sum(math.comb(total, k) * math.comb(its_total, both - k) for k in extreme)
        return Fraction(ways, math.comb(total + its_total, both))

    found: list[float] = []
    for side in (1, -1):
        seen = fisher(this, that, side)
        extreme = [(x, y) for x, y in tables if fisher(x, y, side) <= seen]
        largest = 0.0
        for point in range(1, points):
            p, chance = point / points, 0.0
            for x, y in extreme:
                ways = math.comb(total, x) * math.comb(its_total, y)
                chance += ways * p ** (x + y) * (1 - p) ** (total + its_total - x - y)
            largest = max(largest, chance)
        found.append(largest)
    return min(1.0, 2 * min(found))


def exchanged_p(this: Sequence[int], that: Sequence[int]) -> Fraction:
    """Return twice the smaller one-sided p-value of a difference of means, by all ways to choose the first sample."""
    both, size = [*this, *that], len(this)
    higher = lower = ways = 0
    for chosen in itertools.combinations(both, size):
        # The total is fixed, so that the difference of means grows with the sum of the first sample.
        higher += sum(chosen) >= sum(this)
        lower += sum(chosen) <= sum(this)
        ways += 1
    return min(Fraction(1), 2 * Fraction(min(higher, lower), ways))


def trinomial_power(pairs: int, gains: float, losses: float) -> float:
    """Return the probability of all outcomes of pairs that McNemar's exact test rejects at 5 %."""
    power = 0.0
    for gained in range(pairs + 1):
        for lost in range(pairs - gained + 1):
            discordant = gained + lost
            tail = sum(math.comb(discordant, k) for k in range(min(gained, lost) + 1))
            if 2 * tail * 20 <= 2**discordant:
                ways = math.comb(pairs, gained) * math.comb(pairs - gained, lost)
                power += ways * gains**gained * losses**lost * (1 - gains - losses) ** (pairs - discordant)
    return power


def skewness_corrected_ends(values: Sequence[float], quantile: float) -> tuple[float, float]:
    """Return the means at which Hall's transformed statistic is +- the quantile."""
    return _ends(sum(values) / len(values), _cumulant(values, 2), _cumulant(values, 3), quantile)


def skewed_difference_ends(this: Sequence[float], that: Sequence[float], quantile: float) -> tuple[float, float]:
    """Return the differences of two means at which Hall's transformed statistic is +- the quantile."""
    difference = sum(this) / len(this) - sum(that) / len(that)
    variance = _cumulant(this, 2) + _cumulant(that, 2)
    return _ends(difference, variance, _cumulant(this, 3) - _cumulant(that, 3), quantile)


def _cumulant(values: Sequence[float], order: int) -> float:
    """Return the unbiased estimate of a cumulant of the mean of values: of order 2 or 3."""
    size, mean = len(values), sum(values) / len(values)
    powers = sum((value - mean) ** order for value in values)
    if order == 2:
        return powers / (size - 1) / size
    return size / ((size - 1) * (size - 2)) * powers / size**2 if size > 2 else 0.0


def _ends(value: float, variance: float, third: float, quantile: float) -> tuple[float, float]:
    """Solve for the ends by halving: with T in standard errors and g its skewness, T + g T^2/3 + g^2 T^3/27 + g/6."""
    error, g = math.sqrt(variance), third / variance**1.5

    def transformed(mu: float) -> float:
        t = (value - mu) / error
        return t + g * t**2 / 3 + g**2 * t**3 / 27 + g / 6

    ends: list[float] = []
    for wanted in (quantile, -quantile):
        low, high = value - 1e6 * error, value + 1e6 * error
        for _ in range(200):
            middle = (low + high) / 2
            if transformed(middle) > wanted:  # falls as the mean grows
                low = middle
            else:
                high = middle
        ends.append((low + high) / 2)
    return ends[0], ends[1]


def wald_ends(cells: Mapping[int, float], z: float) -> tuple[float, float]:
    """Return the mean, less and plus z standard errors, of a distribution given by counts of its values."""
    total = sum(cells.values())
    mean = sum(value * count for value, count in cells.items()) / total
    variance = sum(count * (value - mean) ** 2 for value, count in cells.items()) / total
    half = z * math.sqrt(variance / total)
    return mean - half, mean + half


def wilson_roots(successes: float, total: int) -> list[float]:
    """Return the fractions q at which the score |p - q| is z standard errors of q: p is z sqrt(q (1 - q) / n) off."""
    z, share = 1.959963984540054, successes / total
    # (p - q)^2 = z^2 q (1 - q) / n, a quadratic in q.
    roots = np.roots([1 + z * z / total, -(2 * share + z * z / total), share * share])
    return sorted(float(root) for root in roots.real)


def interquartile_mean(values: Sequence[float]) -> float:
    """Return the mean of what is left without a quarter of the values, rounded down, at either end; NaN is largest."""
    ordered = sorted(math.inf if math.isnan(value) else value for value in values)
    cut = len(ordered) // 4
    left = ordered[cut : len(ordered) - cut]
    return sum(left) / len(left)
