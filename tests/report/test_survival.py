"""The fraction solved over training against Kaplan-Meier by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.plain_statistics import kaplan_meier
from tools.summaries import make_summary

from rnnstudy.report.analysis.statistics import wilson_interval
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.analysis.survival import median_steps_to_solve, solved_curve
from rnnstudy.report.tables.by_run import columns

STEPS = st.lists(st.none() | st.integers(0, 900), min_size=1, max_size=12)


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
@given(STEPS)
def test_curves_are_those_of_the_plain_twin(steps):
    curve = solved_curve(make_summary("run", steps=steps, last_step=900))
    solved = [taken for taken in steps if taken is not None]
    surviving = kaplan_meier(solved, [900] * (len(steps) - len(solved)))
    found = dict(zip(curve.steps.tolist(), curve.fraction.tolist(), strict=True))
    for step, fraction in surviving.items():
        assert found[step] == pytest.approx(float(1 - fraction), abs=1e-12)
    assert curve.steps[0] == 0
    assert curve.steps[-1] == 900
    assert (np.diff(curve.steps) > 0).all()
    assert (np.diff(curve.fraction) >= 0).all()
    assert curve.fraction[-1] == pytest.approx(len(solved) / len(steps), abs=1e-12)
    assert (curve.low <= curve.fraction).all()
    assert (curve.fraction <= curve.high).all()
    assert (curve.low >= 0).all()
    assert (curve.high <= 1).all()


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
