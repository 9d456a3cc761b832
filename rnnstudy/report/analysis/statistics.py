"""The few statistics a report needs, with stated treatment of zeros, NaN and censoring."""

import math
from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import numpy as np


@cache
def wilson_interval(successes: float, total: int) -> tuple[float, float]:
    """Return the ends, from 0 to 1, of the Wilson 95 % interval of a fraction of `total >= 1`; a tie is half a success.

        (n p + z^2 / 2 +- z sqrt(n p (1 - p) + z^2 / 4)) / (n + z^2), z the 97.5 % quantile of the normal distribution

    References:
        Wilson, Probable inference, the law of succession, and statistical inference, 1927 (JASA 22).
    """
    z, share = NormalDist().inv_cdf(0.975), successes / total
    middle = (2 * total * share + z**2) / (2 * (total + z**2))
    half = z * math.sqrt(4 * total * share * (1 - share) + z**2) / (2 * (total + z**2))
    return 0.0 if successes == 0 else middle - half, 1.0 if successes == total else middle + half


def median_steps(steps_to_solve: Sequence[int | None]) -> float:
    """Return the median steps to solve; infinity when half or more of the replicas did not solve the task."""
    return float(np.median([math.inf if steps is None else steps for steps in steps_to_solve]))


def median_range(values: Sequence[float], *, nan_as: float) -> tuple[float, float, float]:
    """Return median, minimum and maximum, with NaN counted as `nan_as` (the worst value)."""
    counted = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=nan_as, posinf=math.inf, neginf=-math.inf)
    with np.errstate(invalid="ignore"):  # infinities of both signs in the middle: NaN, and shown so
        return float(np.median(counted)), float(counted.min()), float(counted.max())


def interquartile_mean(values: Sequence[float]) -> float:
    """Return the mean of the middle half of values, a quarter cut at either end; NaN counts as infinity.

    References:
        Agarwal et al., Deep reinforcement learning at the edge of the statistical precipice, 2021 (arXiv:2108.13264),
        section 4.3.
    """
    counted = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=math.inf, posinf=math.inf, neginf=-math.inf)
    cut = len(counted) // 4
    with np.errstate(invalid="ignore"):  # infinities of both signs: NaN
        # scipy.stats.trim_mean takes some fifteen times as long, and reports have thousands of runs.
        return float(np.sort(counted)[cut : len(counted) - cut].mean())


def ordered_median(logs: np.ndarray, *, axis: int) -> np.ndarray:
    """Return the median of logarithms in the order `-inf` (a zero), numbers, `+inf`, NaN.

    It is `-inf` where half or more are zeros, `+inf` or NaN where half or more are not finite.
    """
    ordered, count = np.sort(logs, axis=axis), logs.shape[axis]
    lower, upper = (np.take(ordered, place, axis=axis) for place in ((count - 1) // 2, count // 2))
    with np.errstate(invalid="ignore"):
        return np.where(lower == upper, lower, (lower + upper) / 2)
