"""The intervals against their definitions, in plain loops."""

import math
import statistics
import sys

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reference.plain_statistics import skewed_difference_ends, skewness_corrected_ends, wald_ends
from scipy.stats import t, ttest_ind

from rnnstudy.report.analysis.intervals import (
    ENOUGH,
    difference_of_means,
    mean_interval,
    paired_fractions,
    unpaired_fractions,
)

T_QUANTILES = {2: 12.7062, 3: 4.30265, 4: 3.18245, 8: 2.36462, 16: 2.13145}
"""97.5 % quantiles of Student's t, from a printed table, by the number of values."""

Z = 1.959964


@pytest.mark.parametrize("size", T_QUANTILES.keys() - {2})
@pytest.mark.parametrize("kind", ["normal", "exponential", "lognormal"])
def test_the_ends_are_where_halls_statistic_is_students_quantile(kind, size):
    for seed in range(5):
        values = getattr(np.random.default_rng(seed), kind)(size=size).tolist()
        found = mean_interval(values)
        assert found.value == pytest.approx(statistics.fmean(values), rel=1e-12)
        assert found.ends[1:] == pytest.approx(skewness_corrected_ends(values, T_QUANTILES[size]), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("size", [2, 4, 8, 16])
def test_without_skewness_the_interval_is_students(size):
    values = [*range(size // 2), *(-value for value in range(size // 2))]
    half = T_QUANTILES[size] * statistics.stdev(values) / math.sqrt(size) if size > 2 else math.nan
    found = mean_interval([1.0 + value for value in values] if size > 2 else [0.0, 2.0])
    half = half if size > 2 else T_QUANTILES[2]
    assert found.ends == pytest.approx((1.0, 1 - half, 1 + half), rel=1e-4)


def test_far_values_widen_the_interval_towards_them():
    found = mean_interval([0, 1, 2, 1, 0, 1, 2, 30])
    assert found.high - found.value > 2 * (found.value - found.low) > 0
    mirrored = mean_interval([0, -1, -2, -1, 0, -1, -2, -30])
    assert mirrored.ends == pytest.approx((-found.value, -found.high, -found.low))


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=12), st.sampled_from([1e300, 1e-300]))
def test_the_unit_of_a_mean_does_not_matter(values, unit):
    assume(len(set(values)) > 1)
    expected = [unit * end for end in mean_interval(values).ends]
    assert mean_interval([unit * value for value in values]).ends == pytest.approx(expected, rel=1e-6, abs=1e-9 * unit)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, min_size=1, max_size=9), st.lists(FLOATS, min_size=1, max_size=9))
def test_no_finite_values_overflow(this, that):
    found = mean_interval(this)
    assert min(this) <= found.value <= max(this)
    assert math.isnan(found.low) or found.low <= found.value <= found.high
    difference = difference_of_means(this, that)
    assert math.isnan(difference.low) or difference.low <= difference.value <= difference.high


@pytest.mark.parametrize("values", [[-100.0] * 5, [100.0] * 8, [0.0], [1e300] * 9, [0.1] * 6])
def test_values_without_spread_have_no_interval(values):
    found = mean_interval(values)
    assert found.value == values[0]
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.rough


@pytest.mark.parametrize(("size", "rough"), [(ENOUGH - 1, True), (ENOUGH, False)])
def test_an_interval_of_few_values_is_rough(size, rough):
    values = [float(value) for value in range(size)]
    assert mean_interval(values).rough == rough
    assert difference_of_means(values, list(range(20))).rough == rough
    assert difference_of_means(list(range(20)), values).rough == rough
    assert mean_interval(values, rough=True).rough


def squared_error(values) -> tuple[float, int]:
    return statistics.variance(values) / len(values), len(values)


SAMPLE = st.lists(st.integers(-50, 50), min_size=2, max_size=12).filter(lambda values: len(set(values)) > 1)


@given(SAMPLE, SAMPLE, st.sampled_from([1.0, 1e300, 1e-300]))
def test_a_difference_of_means_without_skewness_has_welchs_interval(this, that, unit):
    this, that = ([*values, *(-value for value in values)] for values in (this, that))
    found = difference_of_means([unit * value for value in this], [unit * value + unit for value in that])
    interval = ttest_ind(this, that, equal_var=False).confidence_interval(0.95)
    expected = [-1, *(end - 1 for end in interval)]
    assert [end / unit for end in found.ends] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(SAMPLE, SAMPLE)
def test_a_difference_of_means_is_corrected_for_its_skewness(this, that):
    found, (errors, sizes) = difference_of_means(this, that), zip(*map(squared_error, (this, that)), strict=True)
    freedom = sum(errors) ** 2 / sum(error**2 / (size - 1) for error, size in zip(errors, sizes, strict=True))
    expected = skewed_difference_ends(this, that, float(t.isf(0.025, freedom)))
    assert found.ends[1:] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_against_equal_values_a_difference_of_means_is_that_of_one_mean():
    values = np.random.default_rng(0).lognormal(size=9).tolist()
    one, two = mean_interval(values), difference_of_means(values, [2.0] * 9)
    assert two.ends == pytest.approx([end - 2 for end in one.ends])


@pytest.mark.parametrize(("this", "that"), [([1.0], [2.0, 3.0]), ([1.0, 1.0], [3.0, 3.0]), ([4.0], [4.0])])
def test_samples_without_spread_have_a_difference_without_interval(this, that):
    found = difference_of_means(this, that)
    assert found.value == statistics.fmean(this) - statistics.fmean(that)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.rough


PAIRS = st.integers(1, 40).flatmap(
    lambda pairs: st.integers(0, pairs).flatmap(
        lambda gained: st.tuples(st.just(gained), st.integers(0, pairs - gained), st.just(pairs))
    )
)


@given(PAIRS)
def test_paired_fractions_have_half_a_pair_more_in_each_cell(case):
    gained, lost, pairs = case
    found = paired_fractions(gained, lost, pairs)
    low, high = wald_ends({1: gained + 0.5, -1: lost + 0.5, 0: pairs - gained - lost + 1}, Z)
    assert found.value == pytest.approx((gained - lost) / pairs)
    assert found.ends[1:] == pytest.approx((max(-1, low), min(1, high)), abs=1e-6)


COUNT = st.integers(1, 40).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@given(COUNT, COUNT)
def test_unpaired_fractions_have_a_success_and_a_failure_more(this, that):
    found = unpaired_fractions(*this, *that)
    ends = [wald_ends({1: count + 1, 0: total - count + 1}, Z) for count, total in (this, that)]
    middles, halves = zip(*(((low + high) / 2, (high - low) / 2) for low, high in ends), strict=True)
    middle, half = middles[0] - middles[1], math.hypot(*halves)
    assert found.value == pytest.approx(this[0] / this[1] - that[0] / that[1])
    assert found.ends[1:] == pytest.approx((max(-1, middle - half), min(1, middle + half)), abs=1e-6)


def test_fractions_worked_by_hand():
    # 7 gained and none lost of 16: (7.5 - 0.5) / 18 = 0.3889, sqrt(8 - 49 / 18) / 18 = 0.1276.
    found = paired_fractions(7, 0, 16)
    assert found.ends == pytest.approx((7 / 16, 0.3889 - Z * 0.1276, 0.3889 + Z * 0.1276), abs=1e-4)
    # 9 and 2 of 16: 10/18 - 3/18 = 0.3889, sqrt(10 8 / 18^3 + 3 15 / 18^3) = 0.1464.
    found = unpaired_fractions(9, 16, 2, 16)
    assert found.ends == pytest.approx((7 / 16, 0.3889 - Z * 0.1464, 0.3889 + Z * 0.1464), abs=1e-4)


def test_the_largest_numbers_there_are():
    most = sys.float_info.max
    found = mean_interval([most, -most, most, -most])
    assert (found.value, found.low, found.high) == (0, -math.inf, math.inf)
