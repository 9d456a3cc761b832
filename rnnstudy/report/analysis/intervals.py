"""Estimates of differences, each with its 95 % interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

from scipy.stats import t

ENOUGH = 8
"""Values from which on the interval of a mean covers as stated."""

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate with its 95 % interval.

    Args:
        value: The estimate.
        low: Lower end; NaN where values without any spread, or a single one, show no uncertainty.
        high: Upper end, likewise.
        rough: Whether the interval may cover less than stated: few values, or many of them cut off at a bound.
    """

    value: float
    low: float
    high: float
    rough: bool = False

    @property
    def ends(self) -> tuple[float, float, float]:
        """The estimate, and the lower and the upper end."""
        return self.value, self.low, self.high


def mean_interval(values: Sequence[float], *, rough: bool = False) -> Estimate:
    """Return the mean of finite values with Student's interval, corrected for the skewness of the sample.

    With T = (mean - mu) / s, s the standard deviation and g the skewness (both bias-corrected) of n values, it holds
    the means mu for which

        |T + g T^2 / 3 + g^2 T^3 / 27 + g / (6 n)| <= t / sqrt(n)

    t the 97.5 % quantile of Student's t with n - 1 degrees of freedom. Without skewness it is Student's interval. A few
    far values widen it towards them, where Student's interval misses the mean of skewed values too often. With
    `rough`, or below `ENOUGH` values, the interval is called rough.

    References:
        Hall, On the removal of skewness by transformation, 1992 (JRSS B 54), section 2: the monotone transformation.
    """
    size, least, most = len(values), min(values), max(values)
    if least == most:
        return Estimate(value=least, low=math.nan, high=math.nan, rough=True)
    exponent, (scaled,) = _scale(values)
    mean, error, third = _moments(scaled)
    if error == 0:  # a spread of rounding errors
        return Estimate(value=_unscale(mean, exponent), low=math.nan, high=math.nan, rough=True)
    ends = [_unscale(end, exponent) for end in (mean, *_ends(mean, error, third, _t(size)))]
    return Estimate(value=ends[0], low=ends[1], high=ends[2], rough=rough or size < ENOUGH)


def _scale(*samples: Sequence[float]) -> tuple[int, list[list[float]]]:
    """Return the power of two of the largest number, and the numbers divided by it, whose squares do not overflow."""
    exponent = math.frexp(max(abs(value) for each in samples for value in each))[1]
    return exponent, [[math.ldexp(value, -exponent) for value in each] for each in samples]


def _unscale(value: float, exponent: int) -> float:
    half = exponent // 2  # 2^exponent may overflow, and so may what is returned
    return value * 2.0**half * 2.0 ** (exponent - half)


def _ends(value: float, error: float, third: float, bound: float) -> tuple[float, float]:
    """Return the ends of an interval from the second and third cumulant of the estimate, and a quantile of t."""
    skewness = third / error / math.sqrt(error)
    low, high = (value - math.sqrt(error) * _solve(side - skewness / 6, skewness / 3) for side in (bound, -bound))
    return low, high


def _solve(value: float, slope: float) -> float:
    """Return the T at which T + slope T^2 + slope^2 T^3 / 3 has a value."""
    return (math.cbrt(1 + 3 * slope * value) - 1) / slope if abs(slope) > 1e-6 else value


@cache
def _t(size: int) -> float:
    return float(t.isf(0.025, size - 1))


def difference_of_means(this: Sequence[float], that: Sequence[float]) -> Estimate:
    """Return the difference of the means of two independent samples, this less that, with Welch's interval.

    It is corrected for the skewness of the difference as that of a mean is.

    References:
        Welch, The generalization of Student's problem when several different population variances are involved, 1947
        (Biometrika 34).
    """
    fewest = min(len(this), len(that))
    exponent, scaled = _scale(this, that)
    means, errors, thirds = zip(*map(_moments, scaled), strict=True)
    difference, error = means[0] - means[1], sum(errors)
    if fewest < 2 or error == 0:
        return Estimate(value=_unscale(difference, exponent), low=math.nan, high=math.nan, rough=True)
    freedom = 1 / sum((each / error) ** 2 / (len(sample) - 1) for each, sample in zip(errors, scaled, strict=True))
    bound = float(t.isf(0.025, freedom))
    found = _ends(difference, error, thirds[0] - thirds[1], bound)
    ends = [_unscale(end, exponent) for end in (difference, *found)]
    return Estimate(value=ends[0], low=ends[1], high=ends[2], rough=fewest < ENOUGH)


def _moments(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean, and the second and third cumulant of it as an estimate: 0 without any spread."""
    size = len(values)
    mean = math.fsum(values) / size
    if min(values) == max(values):
        return mean, 0.0, 0.0
    second, third = (math.fsum((value - mean) ** power for value in values) / (size - 1) for power in (2, 3))
    return mean, second / size, third / (size * (size - 2)) if size > 2 else 0.0


@cache
def paired_fractions(gained: int, lost: int, pairs: int) -> Estimate:
    """Return the difference of two fractions over the same pairs, of which `gained` have it in the first run alone.

    Wald's interval after half a pair is added to each of the four cells; `lost` pairs have it in the second run alone.

    References:
        Agresti & Min, Simple improved confidence intervals for comparing matched proportions, 2005 (Statistics in
        Medicine 24).
    """
    total, more, less = pairs + 2, gained + 0.5, lost + 0.5
    middle = (more - less) / total
    half = _Z * math.sqrt(more + less - (more - less) ** 2 / total) / total
    return _fractions((gained - lost) / pairs, middle, half)


@cache
def unpaired_fractions(this: int, total: int, that: int, its_total: int) -> Estimate:
    """Return the difference of two independent fractions, this of total less that of its total.

    Wald's interval after a success and a failure are added to each.

    References:
        Agresti & Caffo, Simple and effective confidence intervals for proportions and differences of proportions,
        2000 (The American Statistician 54).
    """
    shares = [(count + 1) / (size + 2) for count, size in ((this, total), (that, its_total))]
    half = _Z * math.sqrt(sum(p * (1 - p) / (n + 2) for p, n in zip(shares, (total, its_total), strict=True)))
    return _fractions(this / total - that / its_total, shares[0] - shares[1], half)


def _fractions(value: float, middle: float, half: float) -> Estimate:
    return Estimate(value=value, low=max(-1.0, middle - half), high=min(1.0, middle + half))
