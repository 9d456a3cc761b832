"""Bootstrap intervals of many means at once."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap, norm, t

_ROWS, _BATCH = 64, 512  # means and resamples at a time: what fits the processor's cache is fastest


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its 95 % interval.

    Args:
        value: The mean.
        low: Lower end; NaN where a single value shows no spread.
        high: Upper end, likewise.
    """

    value: float
    low: float
    high: float

    @property
    def ends(self) -> tuple[float, float, float]:
        """The mean, and the lower and the upper end."""
        return self.value, self.low, self.high

    def leaves_out(self, value: float) -> bool:
        """Return whether the interval excludes a value; an unknown interval excludes none."""
        return self.low > value or self.high < value


def estimate_means(samples: Sequence[Sequence[float]], *, resamples: int, seed: int) -> list[Estimate]:
    """Return the mean of each sample of finite values, in their order, with its 95 % bootstrap interval.

    The interval is the expanded percentile interval, between two quantiles of the resamples' means at `expanded_level`.
    It is a point where all values of a sample are equal. It depends only on the values of that sample, in any order,
    on the seed and on the number of resamples per sample. Samples of one size share their resamples.

    BCa (bias-corrected and accelerated), scipy's default, takes a few far values for skewness: with 8 pairs whose
    differences are symmetric about 0 with heavy tails, it leaves out 0 in 10 of 100 simulations, this interval in 7.

    References:
        Hesterberg, What teachers should know about the bootstrap, 2015 (The American Statistician 69): the interval.
    """
    by_size: defaultdict[int, list[tuple[float, ...]]] = defaultdict(list)
    ordered = [tuple(sorted(sample)) for sample in samples]
    for sample in dict.fromkeys(ordered):
        by_size[len(sample)].append(sample)
    found: dict[tuple[float, ...], Estimate] = {}
    blocks = [each[start : start + _ROWS] for each in by_size.values() for start in range(0, len(each), _ROWS)]
    for block in blocks:
        # Blocks of one shape: numpy's order of addition depends on the shape, and the last digit on that order.
        values = np.array(block + block[:1] * (_ROWS - len(block)))
        exponents = np.frexp(np.abs(values).max(axis=1))[1]  # sums of the largest numbers would overflow
        intervals = _intervals(np.ldexp(values, -exponents[:, None]), resamples=resamples, seed=seed)
        ends = np.ldexp(intervals, exponents[:, None]).tolist()
        for sample, exponent, (low, high) in zip(block, exponents.tolist(), ends, strict=False):
            found[sample] = Estimate(value=_mean(sample, exponent), low=low, high=high)
    return [found[sample] for sample in ordered]


def expanded_level(size: int, resamples: int) -> float:
    """Return the level at which the bootstrap interval of a mean of `size >= 2` values covers 95 %.

    `1 - 2 Phi(-sqrt(n / (n - 1)) t)`, t the 97.5 % quantile of Student's t with n - 1 degrees of freedom, but at most
    `1 - 2 / resamples`, so that a resample lies beyond either end. At the plain level the interval of few values is
    too narrow, as if the sample's spread were the true one: it misses the true mean of 8 normal values 11 times in 100.
    """
    quantile = math.sqrt(size / (size - 1)) * t.isf(0.025, size - 1)
    return min(1 - 2 * float(norm.sf(quantile)), 1 - 2 / resamples)


def _mean(sample: tuple[float, ...], exponent: int) -> float:
    if sample[0] == sample[-1]:
        return sample[0]
    return math.ldexp(math.fsum(math.ldexp(value, -exponent) for value in sample) / len(sample), exponent)


def _intervals(values: np.ndarray, *, resamples: int, seed: int) -> np.ndarray:
    """Return the ends of the intervals of the means of rows in ascending order: `(row, 2)`; NaN for single values."""
    size = values.shape[1]
    if size == 1:
        return np.full((len(values), 2), np.nan)
    result = bootstrap(
        (values,),
        np.mean,
        axis=-1,
        confidence_level=expanded_level(size, resamples),
        n_resamples=resamples,
        batch=_BATCH,
        method="percentile",
        rng=np.random.default_rng([seed, size]),
    )
    ends = np.stack([result.confidence_interval.low, result.confidence_interval.high], axis=-1)
    # Means of equal values can be off by a rounding error.
    return np.where(values[:, :1] == values[:, -1:], values[:, :1], ends)
