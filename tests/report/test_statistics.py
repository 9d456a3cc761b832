"""The statistics against closed forms and numpy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.plain_statistics import interquartile_mean as plain_interquartile_mean
from reference.plain_statistics import wilson_roots

from rnnstudy.report.analysis.statistics import (
    interquartile_mean,
    median_range,
    median_steps,
    ordered_median,
    wilson_interval,
)
from rnnstudy.runs.digest import vanishing_ratios


@pytest.mark.parametrize(("successes", "total"), [(0, 8), (3, 8), (8, 8), (1, 1), (40, 100)])
def test_wilson_against_its_formula(successes: int, total: int) -> None:
    z, p = 1.959963984540054, successes / total
    center = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total**2))
    assert wilson_interval(successes, total) == pytest.approx((center - half, center + half), abs=1e-12)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, 2 * n), st.just(n))))
def test_wilson_with_half_successes_is_where_the_score_is_z(case: tuple[int, int]) -> None:
    successes, total = case[0] / 2, case[1]
    assert wilson_interval(successes, total) == pytest.approx(wilson_roots(successes, total), abs=1e-9)


def test_censored_replicas_are_never_dropped() -> None:
    assert median_steps([100, 300, 200]) == 200
    assert median_steps([100, 300, None]) == 300
    assert median_steps([100, None, None]) == math.inf
    assert median_steps([100, None]) == math.inf
    assert median_steps([None]) == math.inf


def test_nan_counts_as_the_worst() -> None:
    assert median_range([1.0, math.nan, 3.0], nan_as=math.inf) == (3.0, 1.0, math.inf)
    assert median_range([0.5, math.nan, 0.25], nan_as=-math.inf) == (0.25, -math.inf, 0.5)


@given(st.lists(st.floats(-300, 300) | st.sampled_from([math.inf, math.nan]), min_size=1, max_size=13))
def test_the_interquartile_mean_is_that_of_the_middle_half(values: list[float]) -> None:
    assert interquartile_mean(values) == pytest.approx(plain_interquartile_mean(values), rel=1e-12, abs=1e-12)


def test_a_quarter_of_lost_replicas_does_not_reach_the_interquartile_mean() -> None:
    assert interquartile_mean([8.0, 1.0, 2.0, 3.0, 4.0, 5.0, math.nan, math.inf]) == 5.0
    assert interquartile_mean([1.0, 2.0, math.nan, math.inf]) == math.inf
    assert interquartile_mean([1.0, 2.0, math.nan]) == math.inf


@given(st.lists(st.floats(-300, 300), min_size=1, max_size=9))
def test_ordered_median_of_finite_values_is_the_median(values: list[float]) -> None:
    assert ordered_median(np.array(values), axis=0) == pytest.approx(np.median(values), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-math.inf, -math.inf, -2.0, -1.0], -math.inf),
        ([-math.inf, -3.0, -2.0], -3.0),
        ([-3.0, math.inf], math.inf),
        ([-3.0, -2.0, math.nan], -2.0),
        ([math.inf, math.inf, 0.0], math.inf),
        ([-1.0, math.nan, math.nan], math.nan),
    ],
)
def test_ordered_median_of_zeros_and_non_finite_values(values: list[float], expected: float) -> None:
    np.testing.assert_equal(float(ordered_median(np.array(values), axis=0)), expected)


def test_vanishing_ratio() -> None:
    norms = np.array([[1e-300, 1.0, 1e2], [0.0, 1.0, 1.0], [math.inf, 1.0, 1.0]])
    np.testing.assert_allclose(vanishing_ratios(norms, 0), [-302.0, -math.inf, math.inf])
    np.testing.assert_allclose(vanishing_ratios(norms, 1), [-2.0, 0.0, 0.0])
