"""The fraction solved over training against lifelines, and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from lifelines.statistics import logrank_test
from lifelines.utils import median_survival_times, restricted_mean_survival_time
from tools.summaries import compare_pairs, make_summary

from rnnstudy.report.analysis.intervals import paired_fractions, unpaired_fractions
from rnnstudy.report.analysis.statistics import wilson_interval
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.analysis.survival import (
    crossing,
    log_rank,
    median_steps_to_solve,
    solved_curve,
    solved_difference,
)
from rnnstudy.report.tables.by_run import columns

STEPS = st.lists(st.none() | st.integers(0, 900), min_size=1, max_size=12)
TIED = st.lists(st.none() | st.sampled_from([100, 200, 300]), min_size=1, max_size=12)

LATE = [1940, 1900, 1960, 1920, 1980, 1900, 1940, 1960]
"""Steps of a baseline that solves all replicas late in 2000."""

SOON = [100, None, 100, 100, None, 100, None, 100]
"""Steps of a run that solves some replicas soon and the others never."""


def fit(steps, budget):
    times = [budget if taken is None else taken for taken in steps]
    return KaplanMeierFitter().fit(times, [taken is not None for taken in steps])


def test_a_curve_worked_by_hand():
    curve = solved_curve(make_summary("run", steps=[200, None, 100, 500, None, 200, None, None], last_step=1000))
    assert curve.steps.tolist() == [0, 100, 200, 500, 1000]
    assert curve.fraction.tolist() == pytest.approx([0, 1 / 8, 3 / 8, 4 / 8, 4 / 8], abs=1e-15)
    # At step 200: S = 5/8; sum of d / (n (n - d)) = 1/(8*7) + 2/(7*5) = 0.075; its root over |ln S|: 0.27386 / 0.47000
    # = 0.58268; exp(1.95996 * 0.58268) = 3.13339; so S is between 0.625 ** 3.13339 and 0.625 ** (1 / 3.13339).
    assert curve.low[2] == pytest.approx(1 - 0.625 ** (1 / 3.13339), abs=1e-4)
    assert curve.high[2] == pytest.approx(1 - 0.625**3.13339, abs=1e-4)
    # At step 100: S = 7/8; 1/56; 0.13363 / 0.13353 = 1.00075; exp(1.95996 * 1.00075) = 7.10947.
    assert curve.low[1] == pytest.approx(1 - 0.875 ** (1 / 7.10947), abs=1e-4)
    assert curve.high[1] == pytest.approx(1 - 0.875**7.10947, abs=1e-4)
    assert (curve.low[0], curve.high[0]) == wilson_interval(0, 8)
    assert (curve.low[4], curve.high[4]) == (curve.low[3], curve.high[3])


@settings(max_examples=25)
@given(STEPS | TIED)
def test_curves_and_bands_are_those_of_lifelines(steps):
    curve = solved_curve(make_summary("run", steps=steps, last_step=900))
    fitted = fit(steps, 900)
    expected = 1 - fitted.survival_function_at_times(curve.steps).to_numpy()
    assert curve.fraction == pytest.approx(expected, abs=1e-12)
    # Of S, with the lower end first.
    band = 1 - fitted.confidence_interval_.reindex(curve.steps, method="ffill").to_numpy()
    inside = (curve.fraction > 0) & (curve.fraction < 1)
    assert curve.low[inside] == pytest.approx(band[inside, 1], abs=1e-9)
    assert curve.high[inside] == pytest.approx(band[inside, 0], abs=1e-9)
    assert (curve.steps[0], curve.steps[-1]) == (0, 900)
    assert (np.diff(curve.steps) > 0).all()
    ends = {0: wilson_interval(0, len(steps)), 1: wilson_interval(len(steps), len(steps))}
    for fraction, low, high in zip(*(each[~inside].tolist() for each in curve[1:]), strict=True):
        assert (low, high) == ends[fraction]


def test_nobody_solved_is_a_flat_line_with_an_interval():
    curve = solved_curve(make_summary("run", steps=[None] * 4, last_step=700, finished=False))
    assert curve.steps.tolist() == [0, 700]
    assert curve.fraction.tolist() == [0, 0]
    assert (curve.low[1], curve.high[1]) == wilson_interval(0, 4)


def test_everybody_solved_at_once_has_an_interval_too():
    curve = solved_curve(make_summary("run", steps=[300] * 5, last_step=300))
    assert curve.steps.tolist() == [0, 300]
    assert curve.fraction.tolist() == [0, 1]
    assert (curve.low[1], curve.high[1]) == wilson_interval(5, 5)


def test_a_diverged_replica_stays_unsolved():
    run = make_summary("run", steps=[100, 200, 150, None], status=["solved", "solved", "diverged", "diverged"])
    curve = solved_curve(run)
    assert curve.steps.tolist() == [0, 100, 200, 1000]
    assert curve.fraction.tolist() == pytest.approx([0, 0.25, 0.5, 0.5])


def test_a_run_that_has_not_begun_is_a_point():
    curve = solved_curve(make_summary("run", steps=[None, None], last_step=0, finished=False))
    assert curve.steps.tolist() == [0]


@settings(max_examples=25)
@given(STEPS)
def test_the_median_is_that_of_the_table(steps):
    run = make_summary("run", steps=steps, last_step=900)
    found = median_steps_to_solve(run).value
    assert run.median_steps == pytest.approx(math.inf if found is None else found)


def test_the_interval_of_the_median_is_where_the_band_crosses_one_half():
    run = make_summary("run", steps=[100, 200, 300, 400, 500, 600, 700, 800, 900, None], last_step=1000)
    curve, found = solved_curve(run), median_steps_to_solve(run)
    assert found.value == 550
    assert found.low is not None
    assert found.high is not None
    low, high = curve.steps.tolist().index(found.low), curve.steps.tolist().index(found.high)
    assert curve.high[low - 1] < 0.5 <= curve.high[low]
    assert curve.low[high - 1] < 0.5 <= curve.low[high]
    assert found.low < found.value < found.high


@settings(max_examples=25)
@given(STEPS | TIED)
def test_the_interval_of_the_median_is_that_of_lifelines(steps):
    found = median_steps_to_solve(make_summary("run", steps=steps, last_step=900))
    if None in steps and len(set(steps)) > 1:  # with none or all solved the band ends in Wilson's, not in lifelines'
        ends = np.ravel(median_survival_times(fit(steps, 900).confidence_interval_)).tolist()
        assert [math.inf if end is None else end for end in found[1:]] == ends


def test_a_median_beyond_the_steps_done_is_unknown():
    assert median_steps_to_solve(make_summary("run", steps=[None] * 8)) == (None, None, None)
    found = median_steps_to_solve(make_summary("run", steps=[100, 200, 300, *[None] * 5]))
    assert found.value is None
    assert found.high is None
    # One of 8, the upper end of whose interval is 0.61.
    assert found.low == 100


def steps_cell(run: Summary) -> tuple[str, str]:
    return next(column for column in columns([run]) if column.header == "steps").cells[0]


def test_the_table_shows_the_interval_of_the_median_where_there_is_one():
    run = make_summary("run", steps=[100, 200, 300, 400, 500, 600, 700, 800, 900, None], last_step=1000)
    found = median_steps_to_solve(run)
    assert steps_cell(run) == ("550", f"{found.low:.0f}\N{EN DASH}{found.high:.0f}")
    assert steps_cell(make_summary("run", steps=[100, 200, 300, *[None] * 5])) == ("> 1000", "100 to > 1000")
    assert steps_cell(make_summary("run", steps=[None] * 8)) == ("> 1000", "")
    assert steps_cell(make_summary("run", steps=[100])) == ("100", "")


@pytest.mark.filterwarnings("ignore:Starting with pandas version 4:DeprecationWarning:lifelines")
@settings(max_examples=40)
@given(STEPS | TIED, STEPS | TIED, st.integers(1, 900))
def test_the_log_rank_test_is_that_of_lifelines(this, that, budget):
    run, other = (make_summary(name, steps=steps, last_step=900) for name, steps in (("this", this), ("that", that)))
    kept = [[None if taken is None or taken > budget else taken for taken in steps] for steps in (this, that)]
    times = [[budget if taken is None else taken for taken in steps] for steps in kept]
    found = log_rank(run, other, budget)
    if any(taken is not None for steps in kept for taken in steps):
        mine, its = ([taken is not None for taken in steps] for steps in kept)
        expected = logrank_test(*times, event_observed_A=mine, event_observed_B=its).p_value
        assert found == pytest.approx(expected, abs=1e-9)
    else:
        assert found is None


def test_a_replica_that_diverged_counts_as_never_solved_in_the_log_rank_test():
    steps, status = [100, 200, 300, 400], ["solved", "solved", "diverged", "solved"]
    lost = make_summary("run", steps=steps, status=status)
    never = make_summary("run", steps=[100, 200, None, 400])
    other = make_summary("other", steps=[500, 600, 700, 800])
    assert log_rank(lost, other, 1000) == log_rank(never, other, 1000) != log_rank(other, other, 1000)


@pytest.mark.filterwarnings("ignore:Starting with pandas version 4:DeprecationWarning:lifelines")
def test_some_soon_is_no_better_than_all_late_though_the_mean_time_is_shorter():
    run, baseline = (make_summary(name, steps=steps, last_step=2000) for name, steps in (("run", SOON), ("all", LATE)))
    (comparison,) = compare_pairs([(run, baseline)])
    means = np.array([restricted_mean_survival_time(fit(steps, 2000), t=2000) for steps in (SOON, LATE)])
    mean_time, solved = comparison.effect("steps_to_solve"), comparison.effect("solved")
    assert mean_time is not None
    assert mean_time.difference is not None
    assert mean_time.difference.value == pytest.approx(means[0] - means[1])
    assert mean_time.difference.value == 5 * 100 / 8 + 3 * 2000 / 8 - sum(LATE) / 8
    assert solved is not None
    assert solved.difference is not None
    assert solved.difference.value == -3 / 8
    assert comparison.logrank == pytest.approx(0.58, abs=0.005)
    # The baseline has solved 2 by 1900, 3 by 1920, as many as the run's 5 by 1940, and 7 by 1960.
    assert comparison.crossing == 1960
    assert comparison.mean_time_misleads


@given(STEPS | TIED, STEPS | TIED, st.integers(0, 9), st.integers(1, 900))
def test_the_difference_of_the_fractions_solved_is_that_of_counts_at_each_step(this, that, shift, budget):
    runs = make_summary("this", steps=this, last_step=900), make_summary("that", steps=that, seed=shift, last_step=900)
    curve = solved_difference(*runs, budget)
    assert (curve.steps[0], curve.steps[-1]) == (0, budget)
    shared = range(shift, min(len(this), shift + len(that)))
    at_step = dict(zip(curve.steps.tolist(), zip(*(each.tolist() for each in curve[1:]), strict=True), strict=True))
    signs = []
    now = at_step[0]
    for step in range(budget + 1):  # a step function: constant where it has no point
        now = at_step.get(step, now)
        done = [[taken is not None and taken <= step for taken in steps] for steps in (this, that)]
        if shared:
            pairs = [(done[0][seed], done[1][seed - shift]) for seed in shared]
            expected = paired_fractions(pairs.count((True, False)), pairs.count((False, True)), len(pairs))
        else:
            expected = unpaired_fractions(sum(done[0]), len(this), sum(done[1]), len(that))
        assert now == expected.ends
        signs.append(np.sign(expected.value))
    leads = [sign for sign in signs if sign]
    turned = [step for step, sign in enumerate(signs) if leads and sign == -leads[0]]
    assert crossing(*runs, budget) == (turned[0] if turned else None)
