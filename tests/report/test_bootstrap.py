"""Bootstrap intervals against all resamples there are, and by how often they hold the truth."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.plain_statistics import all_resampled_means
from rnnstudy.report.analysis.bootstrap import Estimate, estimate_means, expanded_level
from scipy.stats import t

RESAMPLES = 9999
VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)


def estimate(*values: float) -> Estimate:
    return estimate_means([values], resamples=RESAMPLES, seed=0)[0]


def share_held(samples: np.ndarray, truth: float) -> float:
    """Return the share of samples whose interval holds the truth."""
    found = estimate_means(samples.tolist(), resamples=1999, seed=0)
    return float(np.mean([not each.leaves_out(truth) for each in found]))


@pytest.mark.parametrize("size", [5, 6, pytest.param(7, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["normal", "exponential", "tied"])
def test_intervals_are_those_of_all_resamples(size, kind):
    random = np.random.default_rng(size)
    draw = {
        "normal": lambda: random.normal(size=size),
        "exponential": lambda: random.exponential(size=size),
        "tied": lambda: random.choice([-200.0, 0.0, 100.0, 900.0], size=size),
    }
    for _ in range(4):
        values = draw[kind]().tolist()
        found = estimate(*values)
        assert found.value == pytest.approx(np.mean(values), rel=1e-12, abs=1e-12)
        means = all_resampled_means([Fraction(value) for value in values])
        rounding = 1e-9 * max(map(abs, values))
        tail = (1 - expanded_level(size, RESAMPLES)) / 2
        for end, share in ((found.low, tail), (found.high, 1 - tail)):
            # An end is a quantile of 9999 of these means: 4 standard errors of the share below it.
            error = 4 * math.sqrt(tail * (1 - tail) / RESAMPLES)
            least, most = (quantile(means, share + shift) for shift in (-error, error))
            assert least - rounding <= end <= most + rounding


def quantile(ordered: Sequence[Fraction], share: float) -> float:
    return float(ordered[min(max(math.floor(share * len(ordered)), 0), len(ordered) - 1)])


@pytest.mark.parametrize("size", [5, 8, 20, 60])
def test_expanded_intervals_of_the_spread_are_those_of_student(size):
    # A normal interval at that level, with the sample's own spread (divided by n), is Student's.
    level = expanded_level(size, 10**9)
    expected = t.ppf(0.975, size - 1) / math.sqrt(size - 1)
    assert t.ppf(0.5 + level / 2, 10**8) / math.sqrt(size) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "least", "most"), [(5, 0.90, 0.95), (10, 0.92, 0.96), (20, 0.93, 0.97)])
def test_intervals_hold_the_truth_nearly_as_often_as_they_say(size, least, most):
    # Found: 0.929, 0.942, 0.956 of 4000 samples; at the plain level of 0.95 it is 0.854, 0.899, 0.938.
    samples = np.random.default_rng(1).normal(3.0, 2.0, size=(4000, size))
    assert least < share_held(samples, 3.0) < most


@pytest.mark.parametrize("values", [(0.0,) * 5, (100.0,) * 8, (0.1,) * 3, (-0.7,) * 11])
def test_equal_values_have_a_point_for_an_interval(values):
    found = estimate(*values)
    assert found.low == found.value == found.high == values[0]


def test_one_value_has_no_interval():
    found = estimate(3.5)
    assert found.value == 3.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert not found.leaves_out(0)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e307])
def test_intervals_scale_with_the_unit(scale):
    plain, scaled = estimate(-1, 2, 0.5, 4, 3), estimate(*(scale * x for x in (-1, 2, 0.5, 4, 3)))
    for one, other in ((plain.value, scaled.value), (plain.low, scaled.low), (plain.high, scaled.high)):
        assert other == pytest.approx(scale * one, rel=1e-9)


def test_an_end_at_exactly_zero_is_exactly_zero():
    # Else the interval of values that touch 0 would leave it out by a rounding error.
    assert estimate(0, 0, 0, 0, 0, 0, 0, 300).low == 0
    assert estimate(0, 0, 0, 0, 0, -0.1).high == 0


@settings(max_examples=15)
@given(st.lists(st.lists(VALUES, min_size=1, max_size=9), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_an_interval_depends_on_its_own_values_alone(samples, random):
    together = estimate_means(samples, resamples=999, seed=3)
    shuffled = [random.sample(sample, len(sample)) for sample in samples]
    order = random.sample(range(len(samples)), len(samples))
    again = estimate_means([shuffled[index] for index in order], resamples=999, seed=3)
    for place, index in enumerate(order):
        np.testing.assert_equal(vars(again[place]), vars(together[index]))
    np.testing.assert_equal(vars(estimate_means(samples[:1], resamples=999, seed=3)[0]), vars(together[0]))


def test_an_interval_is_the_same_to_the_last_digit_alone_and_among_others():
    samples = np.random.default_rng(0).normal(size=(100, 17)).tolist()
    together = estimate_means(samples, resamples=999, seed=0)
    assert [estimate_means([sample], resamples=999, seed=0)[0] for sample in samples[:10]] == together[:10]
    assert estimate_means(samples[97:], resamples=999, seed=0) == together[97:]


@settings(max_examples=15)
@given(st.lists(VALUES, min_size=2, max_size=40))
def test_an_interval_lies_among_the_values_and_around_their_mean(values):
    found = estimate_means([values], resamples=999, seed=0)[0]
    rounding = 1e-9 * max(map(abs, values))
    assert min(values) - rounding <= found.low <= found.value + rounding
    assert found.value - rounding <= found.high <= max(values) + rounding


def test_another_seed_draws_other_resamples():
    values = np.random.default_rng(0).normal(size=(1, 30)).tolist()
    one, same, other = (estimate_means(values, resamples=999, seed=seed)[0] for seed in (1, 1, 2))
    assert one == same
    assert one.low != other.low
