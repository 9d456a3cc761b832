"""Verdicts of `compare` on simulated sweeps: false ones are as rare as stated, and true ones are found.

Bounds of counts are those that a chance of the stated size exceeds once in 1000.
"""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from rnnstudy.bench.simulated import BUDGET, KINDS, Sweep, mean_time
from rnnstudy.bench.statistics import EQUAL_WEIGHTS, Rate, fraction_tests, interval_rates, losses, verdict_rates
from rnnstudy.report.analysis.power import mcnemar_power
from rnnstudy.report.analysis.summary import known


def most(trials: int, chance: float) -> int:
    return int(binom.isf(1e-3, trials, chance))


@pytest.mark.parametrize("kind", ["normal", "lognormal", "diverging"])
def test_equal_runs_get_a_false_verdict_on_one_page_in_twenty_at_most(kind: str):
    rates = verdict_rates(Sweep(kind=kind, replicas=8), 40, seed=0)
    assert rates["any"].hits <= most(40, 0.05)
    assert rates["ranked"].hits <= rates["judged"].hits


def test_uncorrected_verdicts_on_equal_runs_are_mostly_false():
    rates = verdict_rates(Sweep(kind="censored", replicas=8), 20, seed=0, correct="none")
    assert rates["any"].hits > 10
    assert rates["judged"].hits > most(20, 0.05)


def test_a_better_run_is_found_and_the_primary_measure_has_more_weight():
    sweep = Sweep(configurations=3, replicas=12, shift=1.5, correlation=0)
    weighted, equal = (verdict_rates(sweep, 40, 0, measure=measure)["primary"] for measure in (None, EQUAL_WEIGHTS))
    assert 40 - weighted.hits <= most(40, 0.3)
    assert weighted.hits > equal.hits


def test_paired_fractions_are_tested_with_the_power_of_the_exact_test():
    rates = fraction_tests(16, this=0.75, that=0.25, trials=200, seed=0)
    expected = mcnemar_power(16, 0.75 * 0.75, 0.25 * 0.25)
    found = rates["mcnemar"]
    assert found.share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 200))
    assert rates["mcnemar_correlated"].hits > found.hits


@pytest.mark.parametrize(("kind", "stated"), [("normal", 0.93), ("exponential", 0.9), ("lognormal", 0.9)])
def test_intervals_of_eight_pairs_cover_as_stated(kind: str, stated: float):
    rates = interval_rates(
        8, draw=losses(kind, alike=False), measure="loss", truth=0.0, paired=True, trials=400, seed=0
    )
    assert 400 - rates["covered"].hits <= most(400, 1 - stated)
    assert rates["rough"].hits == 0


def test_figures_have_mean_0_and_standard_deviation_1():
    latent = np.random.default_rng(0).standard_normal(400_000)
    for kind in KINDS.values():
        values = kind.scaled(latent)
        assert values.mean() == pytest.approx(0, abs=0.01)
        assert values.std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("solved", [0.3, 0.9])
def test_the_restricted_mean_is_that_of_a_lognormal_time(solved: float):
    mean, bound = math.log(BUDGET) - norm.ppf(solved), math.log(BUDGET)
    expected = math.exp(mean + 0.5) * norm.cdf(bound - mean - 1) + BUDGET * (1 - solved)
    assert mean_time(solved) == pytest.approx(expected, rel=1e-4)


def test_networks_with_one_seed_are_correlated_and_others_are_not():
    random = np.random.default_rng(0)
    for paired, expected in ((True, 0.5), (False, 0.0)):
        this, that = Sweep(configurations=2, replicas=4000, paired=paired).draw(random)
        assert np.corrcoef(known(this.loss), known(that.loss))[0, 1] == pytest.approx(expected, abs=0.06)
        assert set(this.seeds).isdisjoint(that.seeds) is not paired


def test_a_rate_has_the_standard_error_of_a_fraction():
    assert Rate(5, 100).error == pytest.approx(math.sqrt(0.05 * 0.95 / 100))
    assert Rate(0, 0).error is None
