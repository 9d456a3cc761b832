"""Exact tests of differences, corrected for how many there are on a page.

Under the null hypothesis that two runs do not differ, the difference of a pair is as likely to have either sign. The
statistic of a measure is z^2 = (sum of differences)^2 / (sum of their squares) over all pairs, which grows with
Student's t; of differences that are all 0 or of one size, it is that of McNemar's test.

The signs of all measures of a seed are flipped together, in every comparison in which it is, so that what is alike in
the data is alike in the null distribution: measures of one run are correlated, and comparisons share a baseline.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from scipy.stats import binomtest, boschloo_exact

LEVEL = 0.05
"""Probability of any false verdict on a page, if nothing differs."""

FEWEST_PAIRS = 6
"""Fewest pairs whose signs can be as improbable as `LEVEL`: 2 / 2^6 is 0.03, 2 / 2^5 is 0.06."""

MOST_ENUMERATED = 12
"""Most seeds for which all signs are enumerated."""

WEIGHT, WEIGHT_OF_MANY = 2, 8
"""Weight of the primary measure up to so many seeds, and above, where others stand a chance beside a larger one."""

DRAWS, FEWER_DRAWS = 9999, 1999
"""Random signs beyond that, and the fewer ones of more than `MANY` differences."""

MANY = 3000
_ROWS = 256  # differences at a time: their statistics for all signs are held


@dataclass(frozen=True, kw_only=True)
class PValues:
    """Two-sided p-values of a difference.

    Args:
        raw: p-value of its own test.
        adjusted: p-value corrected for all differences of the page.
    """

    raw: float
    adjusted: float


def paired_tests(
    rows: Sequence[Mapping[int, float]], *, primary: Sequence[bool], correct: str, seed: int
) -> list[PValues]:
    """Return the p-values of differences between pairs: each row maps the seeds of its pairs to a difference.

    max-t: step-down maximum statistic. A difference is as improbable as it is that any difference with a statistic no
        larger than its own, with other signs, would reach it. The primary measure has a weight: 2 ln(weight) is taken
        from the z^2 of the others, about as if their p-values were multiplied by it.
    holm: Holm's step-down procedure on the p-values of all differences that are not all 0.
    none: No correction.

    References:
        Westfall & Young, Resampling-based multiple testing, 1993, section 2.6: the step-down maximum.
        Holm, A simple sequentially rejective multiple test procedure, 1979 (Scandinavian Journal of Statistics 6).
    """
    seeds = sorted({seed for row in rows for seed in row})
    place = {seed: number for number, seed in enumerate(seeds)}
    matrix = np.zeros((len(rows), len(seeds)))
    for number, row in enumerate(rows):
        matrix[number, [place[each] for each in row]] = list(row.values())
    largest = np.abs(matrix).max(axis=1, initial=0)
    live = np.flatnonzero(largest > 0)
    scaled = matrix[live] / largest[live, None]
    scaled /= np.sqrt((scaled**2).sum(axis=1, keepdims=True))
    weight = WEIGHT if len(seeds) <= MOST_ENUMERATED else WEIGHT_OF_MANY
    penalty = np.where(np.asarray(primary, dtype=bool)[live], 0.0, 2 * math.log(weight))
    raw, adjusted = _flipped(scaled, penalty, _signs(len(seeds), len(rows), seed))
    if len(seeds) > MOST_ENUMERATED:
        exact = [_exact(row[row != 0]) for row in matrix[live]]
        raw = np.array([found if each is None else each for found, each in zip(raw, exact, strict=True)])
        adjusted = np.maximum(adjusted, raw) if len(live) > 1 else raw
    found = {"max-t": adjusted, "holm": holm(raw), "none": raw}[correct]
    pairs = dict(zip(live.tolist(), zip(raw.tolist(), found.tolist(), strict=True), strict=True))
    values = [pairs.get(number, (1.0, 1.0)) for number in range(len(rows))]
    return [PValues(raw=raw, adjusted=adjusted) for raw, adjusted in values]


def _signs(count: int, rows: int, seed: int) -> np.ndarray:
    """Return signs of `count` seeds, one row each: all of them up to a common sign, or random ones after those seen."""
    if count <= MOST_ENUMERATED:
        numbers = np.arange(2 ** max(count - 1, 0))
        return 1.0 - 2.0 * (numbers[:, None] >> np.arange(count) & 1)
    draws = FEWER_DRAWS if rows > MANY else DRAWS
    random = np.random.default_rng([seed, count])
    return np.concatenate([np.ones((1, count)), random.choice([-1.0, 1.0], size=(draws, count))])


def _flipped(rows: np.ndarray, penalty: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the raw p-values of rows of unit length, and those adjusted by the step-down maximum."""
    seen = rows.sum(axis=1) ** 2 - penalty
    order = np.argsort(seen, kind="stable")
    raw, adjusted = np.empty(len(rows)), np.empty(len(rows))
    so_far = np.full((1, len(signs)), -np.inf)
    for start in range(0, len(rows), _ROWS):
        part = order[start : start + _ROWS]
        found = (rows[part] @ signs.T) ** 2 - penalty[part, None]
        reached = seen[part, None] - 1e-9  # sums in another order differ in the last digits
        raw[part] = (found >= reached).mean(axis=1)
        found[:1] = np.maximum(found[:1], so_far)
        np.maximum.accumulate(found, axis=0, out=found)
        adjusted[part] = (found >= reached).mean(axis=1)
        so_far = found[-1:].copy()
    # Step-down p-values never fall as the statistic falls.
    adjusted[order] = np.maximum.accumulate(adjusted[order][::-1])[::-1]
    return raw, adjusted


def holm(p_values: np.ndarray) -> np.ndarray:
    """Return p-values adjusted by Holm's step-down procedure."""
    order = np.argsort(p_values)
    adjusted = np.empty_like(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * factors), 1.0)
    return adjusted


def _exact(differences: np.ndarray) -> float | None:
    """Return the exact p-value of differences that are few, or all of one size; None for others."""
    sizes, count = np.abs(differences), len(differences)
    if sizes.min() == sizes.max():
        return mcnemar(int((differences > 0).sum()), int((differences < 0).sum()))
    if count > MOST_ENUMERATED:
        return None
    row = differences / sizes.max()
    return float(_flipped((row / np.sqrt((row**2).sum()))[None], np.zeros(1), _signs(count, 1, 0))[0][0])


@cache
def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of McNemar's test: gains and losses among discordant pairs are equally likely.

    References:
        McNemar, Note on the sampling error of the difference between correlated proportions or percentages, 1947
        (Psychometrika 12); the exact form is the sign test.
    """
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


@cache
def boschloo(this: int, total: int, that: int, its_total: int) -> float:
    """Return the exact two-sided p-value of Boschloo's test of two independent fractions.

    References:
        Boschloo, Raised conditional level of significance for the 2x2-table when testing the equality of two
        probabilities, 1970 (Statistica Neerlandica 24).
    """
    if (this, that) in {(0, 0), (total, its_total)}:
        return 1.0
    return float(boschloo_exact([[this, that], [total - this, its_total - that]]).pvalue)


@cache
def permuted_means(this: tuple[float, ...], that: tuple[float, ...], seed: int) -> float:
    """Return the two-sided p-value of a difference of means of independent samples, by exchanging their members."""
    both = np.array([*this, *that])
    if both.min() == both.max():
        return 1.0
    both = np.ldexp(both, -math.frexp(np.abs(both).max())[1])  # sums do not overflow
    sums = _members(len(this), len(both), seed) @ both
    tails = (sums >= sums[0] - 1e-9).mean(), (sums <= sums[0] + 1e-9).mean()  # another order changes the last digits
    return min(1.0, 2 * float(min(tails)))


@cache
def _members(count: int, total: int, seed: int) -> np.ndarray:
    """Return which of `total` values are in a sample of `count`, one row each: all ways, or those seen and random ones.

    They are drawn once for all differences, where `scipy.stats.permutation_test` draws anew for each.
    """
    if math.comb(total, count) <= DRAWS:
        chosen = np.array([*combinations(range(total), count)])
    else:
        random = np.random.default_rng([seed, count, total])
        shuffled = random.permuted(np.tile(np.arange(total), (DRAWS, 1)), axis=1)
        chosen = np.concatenate([np.arange(count)[None], shuffled[:, :count]])
    rows = np.zeros((len(chosen), total))
    np.put_along_axis(rows, chosen, 1.0, axis=1)
    return rows


def least_pairs(correct: str, differences: int, *, paired: bool = True, designs: int = 1) -> int:
    """Return the fewest pairs, or replicas of each run, with which some outcome would reach `LEVEL`, at least 6."""
    pairs = FEWEST_PAIRS
    while least_p(correct, differences, pairs, paired=paired, designs=designs) > LEVEL:
        pairs += 1
    return pairs


def least_p(correct: str, differences: int, pairs: int, *, paired: bool = True, designs: int = 1) -> float:
    """Return the smallest adjusted p-value that one of so many differences of a design can reach.

    Args:
        correct: Correction; without pairs, max-t is Holm's.
        differences: Differences of the design on the page.
        pairs: Pairs, or replicas of each of two independent runs.
        paired: Whether the runs share seeds.
        designs: Designs on the page that share the level.
    """
    alone = 2.0 ** (1 - pairs) if paired else 2 / math.comb(2 * pairs, pairs)
    is_holm = correct == "holm" or (correct == "max-t" and not paired)
    return min(1.0, alone * (differences if is_holm else 1) * (1 if correct == "none" else designs))
