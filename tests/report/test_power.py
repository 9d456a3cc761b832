"""How many replicas would do, against enumeration and a numerical integral."""

import math
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.plain_statistics import trinomial_power

from rnnstudy.report.analysis.power import MOST, POWER, mcnemar_power, replicas_for_fractions, replicas_for_mean


def t_power(pairs, effect, *, limit):
    """Return the probability that |Z + d sqrt(n)| is beyond the limit times the sample's standard deviation."""
    normal, freedom, power = NormalDist(), pairs - 1, 0.0
    width = 2e-3
    for number in range(int(5 / width)):
        deviation = (number + 0.5) * width  # its density is that of chi / sqrt(freedom)
        log_density = (
            math.log(2) + freedom / 2 * math.log(freedom / 2) - math.lgamma(freedom / 2) - freedom * deviation**2 / 2
        )
        density = math.exp(log_density + (freedom - 1) * math.log(deviation))
        shift = effect * math.sqrt(pairs)
        power += width * density * (normal.cdf(shift - limit * deviation) + normal.cdf(-shift - limit * deviation))
    return power


@settings(max_examples=30)
@given(st.integers(1, 24), st.integers(1, 100), st.integers(0, 100))
def test_the_power_of_mcnemars_test_is_that_of_all_outcomes(pairs, gains, losses):
    chances = (gains / 201, losses / 201)
    assert mcnemar_power(pairs, *chances) == pytest.approx(trinomial_power(pairs, *chances), abs=1e-12)


@pytest.mark.parametrize(("this", "that"), [(0.375, 0.75), (0.0, 1.0), (1.0, 0.0), (0.25, 1.0), (0.125, 0.875)])
def test_no_fewer_pairs_would_show_the_fractions(this, that):
    pairs = replicas_for_fractions(this, that)
    assert pairs is not None
    assert pairs == replicas_for_fractions(that, this)
    chances = (this * (1 - that), that * (1 - this))
    power = [trinomial_power(count, *chances) for count in range(1, pairs + 1)]
    assert max(power[:-1]) < POWER <= power[-1]


def test_three_against_six_of_eight_takes_32_pairs():
    assert replicas_for_fractions(3 / 8, 6 / 8) == 32


T_LIMITS = {6: 2.57058, 10: 2.26216, 16: 2.13145, 34: 2.03452, 33: 2.03693, 9: 2.30600, 15: 2.14479}
"""97.5 % quantiles of Student's t, from a printed table, by the number of pairs."""


@pytest.mark.parametrize(("effect", "pairs"), [(0.5, 34), (1.0, 10), (-1.0, 10), (0.75, 16)])
def test_no_fewer_pairs_would_show_the_mean(effect, pairs):
    # Cohen, Statistical power analysis, 1988: 34 pairs for half a standard deviation.
    assert replicas_for_mean(effect) == pairs
    fewer, enough = (t_power(count, abs(effect), limit=T_LIMITS[count]) for count in (pairs - 1, pairs))
    assert fewer < POWER <= enough


def test_six_pairs_are_the_fewest_that_are_named():
    assert replicas_for_mean(100.0) == replicas_for_mean(2.0) == replicas_for_fractions(0.0, 1.0) == 6


def test_differences_too_small_to_be_shown_have_no_number():
    assert replicas_for_fractions(0.5, 0.5) is None
    assert replicas_for_fractions(0.0, 0.0) is None
    assert replicas_for_mean(0.0) is None
    assert replicas_for_mean(math.inf) is None
    assert replicas_for_mean(math.nan) is None


@pytest.mark.parametrize("effect", [0.064, 0.0625, 0.06, 0.05, 0.001])
def test_no_number_is_above_the_most_that_are_named(effect):
    pairs = replicas_for_mean(effect)
    # About ((1.960 + 0.842) / effect)^2 and two more.
    assert pairs == (pytest.approx((2.8016 / effect) ** 2 + 2, abs=1) if effect > 0.0627 else None)
    assert pairs is None or pairs <= MOST
