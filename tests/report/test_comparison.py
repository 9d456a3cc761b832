"""Runs against their baselines: design, censoring, what is not finite, limits, verdicts."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.plain_statistics import restricted_times, share_of_smaller, wilson_roots
from scipy.stats import boschloo_exact
from tools.summaries import compare_pairs, make_summary

from rnnstudy.report.analysis.comparison import AT_LIMIT, NOT_SHOWN, VERDICTS, Comparison, Effect, show_seeds
from rnnstudy.report.analysis.intervals import Estimate
from rnnstudy.report.analysis.summary import Summary

NAN, INF = math.nan, math.inf


def compare_one(this: Summary, that: Summary, **options: Any) -> Comparison:
    return compare_pairs([(this, that)], **options)[0]


def effect_of(comparison: Comparison, measure: str) -> Effect:
    return {effect.measure: effect for effect in comparison.effects}[measure]


def difference(effect: Effect) -> Estimate:
    assert effect.difference is not None
    return effect.difference


def figures(comparison: Comparison) -> Sequence[object]:
    """Return all figures of a comparison, without the runs."""
    return [dataclasses.astuple(effect) for effect in comparison.effects] + [comparison.pairs, comparison.budget]


def loss_effect(this, that) -> Effect:
    return effect_of(compare_one(make_summary("this", loss=this), make_summary("base", loss=that)), "loss")


def verdict(this, that) -> str:
    return loss_effect(this, that).verdict


# Steps to solve, with censoring.


def test_a_replica_that_never_solved_counts_as_the_budget():
    this = make_summary("this", steps=[100, 300, None, 500, None], last_step=1000)
    that = make_summary("base", steps=[200, None, None, 400, 900], last_step=1000)
    found = effect_of(compare_one(this, that), "steps_to_solve")
    # By hand: -100, 300 - 1000, 0, +100, 1000 - 900.
    assert difference(found).value == (-100 - 700 + 0 + 100 + 100) / 5
    assert found.improvement.value == (1 + 1 + 0.5 + 0 + 0) / 5
    assert (found.pairs, found.left_out) == (5, 0)


@settings(max_examples=15)
@given(
    st.integers(5, 9).flatmap(
        lambda n: st.tuples(*[st.lists(st.none() | st.integers(0, 900), min_size=n, max_size=n)] * 2)
    ),
    st.integers(900, 1000),
    st.integers(900, 1000),
)
def test_restricted_times_are_those_of_the_plain_twin(steps, one, other):
    this, that = (
        make_summary("this", steps=steps[0], last_step=one),
        make_summary("base", steps=steps[1], last_step=other),
    )
    comparison = compare_one(this, that)
    found = effect_of(comparison, "steps_to_solve")
    known = [run.last_step for run in (this, that) if None in run.steps_to_solve]
    budget = min(known, default=max(one, other))
    assert comparison.budget == budget
    mine, its = (restricted_times(run, budget) for run in steps)
    assert difference(found).value == pytest.approx(np.mean(np.subtract(mine, its)), abs=1e-9)
    assert found.improvement.value == pytest.approx(share_of_smaller(mine, its), abs=1e-12)


def test_times_are_restricted_to_what_both_runs_were_trained_for():
    this = make_summary("this", steps=[100, 200, None, None, None], last_step=400, finished=False)
    that = make_summary("base", steps=[300, 900, 950, 350, None], last_step=1000)
    comparison = compare_one(this, that)
    found = effect_of(comparison, "steps_to_solve")
    assert comparison.budget == 400
    assert difference(found).value == ((100 - 300) + (200 - 400) + 0 + (400 - 350) + 0) / 5
    assert found.improvement.value == (1 + 1 + 0.5 + 0 + 0.5) / 5
    (note,) = comparison.notes
    assert "restricted to 400" in note
    assert "compared at step 400, which is as far as this is" in note
    assert "1000" in note
    assert comparison.at_step == 400


def test_a_run_that_ended_early_because_all_solved_restricts_nothing():
    this = make_summary("this", steps=[100, 200, 300, 100, 200], last_step=300)
    that = make_summary("base", steps=[800, 900, 700, 600, None], last_step=1000)
    comparison = compare_one(this, that)
    found = effect_of(comparison, "steps_to_solve")
    assert comparison.budget == 1000
    assert comparison.notes == ()
    assert difference(found).value == (900 - 4000) / 5


def test_a_diverged_replica_is_known_for_any_number_of_steps():
    this = make_summary("this", steps=[100] * 4 + [None], status=["solved"] * 4 + ["diverged"], last_step=300)
    that = make_summary("base", steps=[400] * 4 + [None], last_step=1000)
    comparison = compare_one(this, that)
    assert comparison.budget == 1000
    found = effect_of(comparison, "steps_to_solve")
    assert difference(found).value == -240
    assert found.improvement.value == 0.9


def test_a_diverged_replica_never_solves():
    this = make_summary("this", steps=[100] * 5, status=["solved"] * 4 + ["diverged"], last_step=600)
    that = make_summary("base", steps=[200] * 4 + [600], last_step=600)
    comparison = compare_one(this, that)
    found = effect_of(comparison, "steps_to_solve")
    assert comparison.budget == 600
    assert difference(found).value == -80
    # Of the time a solution at the last step is a tie with none; of the fraction solved it is not.
    assert found.improvement.value == 0.9
    assert difference(effect_of(comparison, "solved")).value == -0.2


def test_steps_are_compared_only_where_the_task_has_a_criterion():
    this, that = (make_summary(name, loss=[1.0] * 5, judged=False) for name in ("this", "base"))
    assert [effect.measure for effect in compare_one(this, that).effects] == ["loss"]


# Pairs.


def test_replicas_are_paired_by_their_own_seed():
    loss = {seed: float(seed) ** 2 for seed in range(20)}
    this = make_summary("this", seed=4, loss=[loss[seed] + 1 for seed in range(4, 12)])
    that = make_summary("base", seed=0, loss=[loss[seed] for seed in range(8)])
    comparison = compare_one(this, that)
    found = effect_of(comparison, "loss")
    assert comparison.pairs == found.pairs == 4
    assert difference(found).value == 1
    assert (found.verdict, found.enough) == ("too few", 6)
    (note,) = comparison.notes
    for said in ("this", "base", "seeds 4 to 11", "seeds 0 to 7", "4 pairs"):
        assert said in note
    other = effect_of(compare_one(that, this), "loss")
    assert difference(other).value == -1


def test_runs_without_a_common_seed_are_independent_samples():
    this = make_summary("a b/this", seed=8, steps=[100] * 9 + [None] * 7, loss=[NAN, *[1.0 + k for k in range(15)]])
    that = make_summary("base", seed=100, steps=[100, 200, *[None] * 14], loss=[3.5 + k for k in range(16)])
    comparison = compare_one(this, that, correct="none")
    assert not comparison.is_paired
    solved, loss = effect_of(comparison, "solved"), effect_of(comparison, "loss")
    assert difference(solved).value == 7 / 16
    assert solved.p == pytest.approx(boschloo_exact([[9, 2], [7, 14]]).pvalue)
    assert solved.verdict == "better"
    assert difference(loss).value == pytest.approx(8 - 11)
    assert loss.left_out == 1
    (note,) = comparison.notes
    for said in ("a b/this", "base", "seeds 8 to 23", "seeds 100 to 115", "without pairs"):
        assert said in note


def test_half_of_the_level_is_for_each_of_two_designs():
    random = np.random.default_rng(0)
    base = make_summary("base", loss=random.normal(size=8).tolist(), judged=False)
    near = make_summary("near", loss=random.normal(-3, size=8).tolist(), judged=False)
    far = make_summary("far", seed=50, loss=random.normal(-3, size=8).tolist(), judged=False)
    one = compare_one(near, base)
    both = compare_pairs([(near, base), (far, base)])
    assert both[0].effects[0].adjusted == 2 * one.effects[0].adjusted
    assert both[1].effects[0].adjusted == 2 * both[1].effects[0].p
    assert [each.effects[0].enough for each in (one, *both)] == [6, 7, 6]  # 2 * 2 / 2^6 is 0.06
    assert [each.effects[0].adjusted for each in compare_pairs([(near, base), (far, base)], correct="none")] == [
        each.effects[0].p for each in both
    ]


def test_a_run_is_not_compared_with_itself():
    this, that = make_summary("this", loss=[1.0]), make_summary("base", loss=[2.0])
    found = compare_pairs([(that, that), (this, that)])
    assert [comparison.summary for comparison in found] == [this]


def test_a_measure_that_only_some_pairs_have_is_told():
    this = make_summary("this", loss=[1.0] * 6, horizon=[5.0] * 6)
    that = make_summary("base", loss=[1.0] * 6, horizon=[4.0, 4.0, None, 4.0, 4.0, 4.0])
    comparison = compare_one(this, that)
    assert effect_of(comparison, "horizon").pairs == 5
    (note,) = comparison.notes
    assert "horizon in 5 of 6 pairs" in note
    assert "decay" not in {effect.measure for effect in comparison.effects}


# Explosions.


def test_diverged_replicas_are_compared_as_fractions():
    lost = make_summary("lost", loss=[1.0] * 8, status=["diverged"] * 6 + ["finished"] * 2)
    calm = make_summary("calm", loss=[1.0] * 8)
    found = effect_of(compare_one(calm, lost), "diverged")
    assert difference(found).value == -0.75
    assert (found.improvement.value, found.ties) == (0.875, 2)
    found = effect_of(compare_one(calm, lost, measure="diverged", correct="none"), "diverged")
    assert (found.p, found.verdict) == (2 / 2**6, "better")
    assert effect_of(compare_one(lost, calm, correct="none"), "diverged").verdict == "worse"
    assert "diverged" not in {effect.measure for effect in compare_one(calm, calm_too(calm)).effects}


def calm_too(summary: Summary) -> Summary:
    return dataclasses.replace(summary, paths=(summary.path / "too",))


def test_largest_norms_are_compared_as_logarithms_and_spikes_as_counts():
    wild = make_summary("wild", largest_norm=[1e3, 1e4, 1e5, 1e30, 1e3, 1e3], spikes=[3, 4, 5, 60, 1, 5])
    calm = make_summary("calm", largest_norm=[10.0] * 6, spikes=[0] * 6)
    norm, spikes = (effect_of(compare_one(calm, wild), measure) for measure in ("largest_norm", "spikes"))
    assert difference(norm).value == pytest.approx(-(2 + 3 + 4 + 29 + 2 + 2) / 6)
    assert difference(spikes).value == -78 / 6
    assert (norm.verdict, spikes.verdict, spikes.improvement.value) == ("lower", "lower", 0)
    assert effect_of(compare_one(wild, calm), "largest_norm").verdict == "higher"
    assert "spikes" not in {effect.measure for effect in compare_one(calm, calm_too(calm)).effects}


def test_a_replica_without_a_norm_that_has_a_logarithm_has_no_pair():
    this = make_summary("this", largest_norm=[1.0, NAN, 0.0, None, 10.0])
    comparison = compare_one(this, make_summary("base", largest_norm=[1.0] * 5))
    assert effect_of(comparison, "largest_norm").pairs == 2
    assert "largest norm in 2 of 5 pairs" in comparison.notes[0]


@pytest.mark.parametrize("older", [False, True])
def test_explosions_are_compared_of_runs_that_ended_and_logged_them(older: bool):
    extremes = {} if older else {"largest_norm": [1.0] * 5, "spikes": [1] * 5}
    that = make_summary("base", loss=[2.0] * 5, status=["diverged"] * 5, **extremes)
    this = make_summary("this", loss=[1.0] * 5, finished=older, **extremes)
    measures = {effect.measure for effect in compare_one(this, that).effects}
    assert measures - {"solved", "steps_to_solve", "loss"} == ({"diverged"} if older else set())


# What is not finite.


def test_what_is_not_finite_is_worst_and_left_out_of_the_difference():
    found = loss_effect([NAN, 0.1, 0.2, INF, 0.3, NAN], [1.0, NAN, 1.2, 1.3, 1.4, INF])
    assert (found.pairs, found.left_out) == (2, 4)
    assert difference(found).value == pytest.approx((-1.0 - 1.1) / 2)
    assert found.improvement.value == (0 + 1 + 1 + 0 + 1 + 0.5) / 6


@pytest.mark.parametrize("measure", ["horizon", "decay"])
def test_of_the_gradient_larger_is_higher_and_not_finite_is_lowest(measure):
    def run(name: str, *values: float) -> Summary:
        return dataclasses.replace(make_summary(name, loss=values), **{measure: values})

    base = run("base", -3.0, -2.0, -1.0, -2.0, -3.0, -2.5)
    higher = run("this", -2.0, -1.5, 0.5, -1.0, 7.0, -1.0)
    lost = run("lost", NAN, INF, NAN, -INF, NAN, NAN)
    up = effect_of(compare_one(higher, base), measure)
    assert up.verdict == "higher"
    assert up.improvement.value == 1
    assert effect_of(compare_one(base, higher), measure).verdict == "lower"
    down = effect_of(compare_one(lost, base), measure)
    assert (down.difference, down.pairs, down.left_out) == (None, 0, 6)
    assert down.improvement.value == 0
    assert down.verdict == "lower"


def test_a_difference_of_the_survivors_alone_decides_nothing():
    # The three that did not diverge are better; the five that did are not forgotten.
    base = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    assert verdict([0.1, 0.1, 0.1, NAN, NAN, NAN, NAN, NAN], base) == "no difference shown"
    assert verdict([0.1, 0.1, 0.1, 0.1, 0.1, NAN, NAN, NAN], base) == "no difference shown"
    assert verdict([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], base) == "better"
    assert verdict([NAN] * 8, base) == "worse"
    assert verdict([1.8, 1.9, *[NAN] * 6], base) == "worse"
    # Most diverged, the one left is better: two findings that point opposite ways.
    assert verdict([0.1, *[NAN] * 15], [*base, *base]) == "no difference shown"
    assert verdict([1.1, *[NAN] * 15], [*base, *base]) == "worse"


def test_where_pairs_are_left_out_who_is_better_decides():
    base = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    assert verdict([NAN] * 6, base) == "worse"  # p = 0.03125
    assert verdict([NAN] * 6, [NAN, *base[1:]]) == "no difference shown"  # a tie tells nothing: 5 of 5
    assert verdict([NAN] * 7, [NAN, *base]) == "worse"


def test_the_interval_of_the_improvement_has_a_width_where_all_pairs_agree():
    found = loss_effect([0.1] * 8, [1.0 + 0.1 * replica for replica in range(8)]).improvement
    assert found is not None
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(8 / (8 + 1.959963984540054**2))  # Wilson's lower end of n of n
    tied = loss_effect([1.0] * 4 + [0.5, 2.0], [1.0] * 6)
    assert tied.ties == 4
    assert (tied.improvement.low, tied.improvement.high) == pytest.approx(wilson_roots(3, 6), abs=1e-9)


# Verdicts.


@pytest.mark.parametrize(
    ("this", "that", "expected"),
    [
        ([1.0] * 5, [2.0, 3.0, 4.0, 5.0, 3.5], "too few"),
        ([1.0], [2.0], "too few"),
        ([1.0] * 6, [2.0, 3.0, 4.0, 5.0, 3.5, 3.5], "better"),
        ([2.0, 3.0, 4.0, 5.0, 3.5, 3.5], [1.0] * 6, "worse"),
        ([1.0] * 6, [1.0] * 6, "no difference shown"),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 1.0, 4.0, 3.0, 6.0, 5.0], "no difference shown"),
        # Five of 64 differ: as improbable as five of six.
        ([0.3] * 5 + [1.0] * 59, [1.0] * 64, "no difference shown"),
        ([1e-30, 2e-30, 3e-30, 1e-30, 2e-30, 1e-30], [1e-29] * 6, "better"),
    ],
)
def test_verdicts(this, that, expected):
    assert verdict(this, that) == expected
    assert expected in VERDICTS


def test_one_pair_has_a_difference_and_no_interval():
    found = loss_effect([1.0], [3.0])
    assert difference(found).value == -2
    assert math.isnan(difference(found).low)
    assert math.isnan(difference(found).high)


@pytest.mark.parametrize("size", [5, 8, 64])
def test_four_discordant_replicas_decide_nothing(size: int):
    this = make_summary("this", steps=[100] * 4 + [None] * (size - 4))
    found = effect_of(compare_one(this, make_summary("base", steps=[None] * size)), "solved")
    assert found.p == 2 / 2**4
    assert found.verdict == (NOT_SHOWN if size >= 6 else "too few")


def test_five_of_five_pairs_alike_have_neither_a_verdict_nor_an_interval():
    this, that = make_summary("this", steps=[100] * 5), make_summary("base", steps=[200] * 5)
    found = effect_of(compare_one(this, that), "steps_to_solve")
    assert (found.p, found.verdict) == (0.0625, "too few")
    assert difference(found).value == -100
    assert math.isnan(difference(found).low)


def test_a_mean_time_that_points_against_the_fraction_solved_is_seen():
    late = make_summary("late", steps=[1940, 1900, 1960, 1920, 1980, 1900, 1940, 1960], last_step=2000)
    fast = make_summary("fast", steps=[100] * 5 + [None] * 3, last_step=2000)
    comparison = compare_one(fast, late)
    assert difference(effect_of(comparison, "steps_to_solve")).value < -1000
    assert difference(effect_of(comparison, "solved")).value == -3 / 8
    assert comparison.mean_time_misleads
    assert comparison.logrank == pytest.approx(0.58, abs=0.005)
    assert comparison.crossing == 1960  # five each at 1940, seven against five then
    assert not {effect.verdict for effect in comparison.effects} & {"better", "worse"}
    assert not compare_one(fast, make_summary("base", steps=[None] * 8, last_step=2000)).mean_time_misleads


@pytest.mark.parametrize(
    ("this", "that", "measure"),
    [
        ({"horizon": [19.0] * 8}, {"horizon": [19.0] * 8}, "horizon"),
        ({"steps": [None] * 8}, {"steps": [None] * 8}, "steps_to_solve"),
        ({"steps": [5] * 8}, {"steps": [7] * 8}, "solved"),
        ({"status": ["diverged"] * 8}, {"status": ["diverged"] * 8}, "diverged"),
    ],
)
def test_runs_at_the_limit_of_what_can_be_measured_are_not_called_equal(this, that, measure):
    comparison = compare_one(make_summary("this", **this), make_summary("base", **that))
    assert effect_of(comparison, measure).verdict == AT_LIMIT


def test_horizons_at_the_longest_lag_in_some_pairs_are_told():
    this, that = (
        make_summary("this", horizon=[19.0, 19.0, 5.0, 19.0]),
        make_summary("base", horizon=[19.0, 3.0, 4.0, 19.0]),
    )
    assert "in 2 of 4 pairs both horizons are the longest lag, 19" in compare_one(this, that).notes[0]


@pytest.mark.parametrize(
    ("measure", "judged", "primary"), [(None, True, "solved"), (None, False, "loss"), ("decay", True, "decay")]
)
def test_the_primary_measure_is_the_fraction_solved_the_loss_or_the_one_asked_for(measure, judged, primary):
    this, that = (make_summary(name, loss=[1.0] * 6, decay=[0.1] * 6, judged=judged) for name in ("this", "base"))
    comparison = compare_one(this, that, measure=measure)
    assert comparison.main is not None
    assert (comparison.primary, comparison.main.measure) == (primary, primary)


def test_few_pairs_can_never_be_shown_under_holm_and_the_verdict_says_how_many_would():
    random = np.random.default_rng(0)
    base = make_summary("base", loss=random.normal(size=8).tolist(), judged=False)
    runs = [make_summary(f"run {k}", loss=random.normal(-9, size=8).tolist(), judged=False) for k in range(9)]
    found = [each.effects[0] for each in compare_pairs([(run, base) for run in runs], correct="holm")]
    assert {effect.verdict for effect in found} == {"too few"}
    assert {effect.enough for effect in found} == {9}  # 9 * 2 / 2^9 <= 0.05 < 9 * 2 / 2^8
    assert {effect.adjusted for effect in found} == {9 * 2 / 2**8}
    again = compare_pairs([(run, base) for run in runs], correct="max-t")
    assert {each.effects[0].verdict for each in again} == {"better"}


def test_how_many_replicas_would_show_the_difference_is_said_of_the_primary_measure():
    this = make_summary("this", steps=[100] * 6 + [None] * 2, loss=[1.0] * 8)
    that = make_summary("base", steps=[100] * 3 + [None] * 5, loss=[2.0] * 8)
    comparison = compare_one(this, that)
    assert [effect.needed for effect in comparison.effects] == [32, None, None]


def draw_pair(random: np.random.Generator, replicas: int) -> tuple[Summary, Summary]:
    """Draw a run and its baseline from one distribution: steps on a grid, a third never solved, losses spread wide."""
    return draw_run("this", random, replicas), draw_run("base", random, replicas)


def draw_run(name: str, random: np.random.Generator, replicas: int) -> Summary:
    taken = (np.ceil(random.lognormal(6.6, 0.7, replicas) / 50) * 50).astype(int).tolist()
    return make_summary(
        name,
        steps=[each if each <= 1000 else None for each in taken],
        loss=random.lognormal(-2, 1, replicas).tolist(),
        decay=random.normal(-0.3, 0.1, replicas).tolist(),
    )


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from([1, 2, 5, 8, 14]), min_size=2, max_size=8))
def test_the_order_of_the_comparisons_changes_no_figure(seed, sizes):
    random = np.random.default_rng(seed)
    pairs = [draw_pair(random, size) for size in sizes]
    order = random.permutation(len(pairs)).tolist()
    together, again = compare_pairs(pairs), compare_pairs([pairs[index] for index in order])
    for place, index in enumerate(order):
        np.testing.assert_equal(figures(again[place]), figures(together[index]))


def test_seeds_are_shown_as_ranges():
    assert show_seeds([4]) == "seed 4"
    assert show_seeds([0, 1, 2, 5, 8, 9]) == "seeds 0 to 2, 5, 8 to 9"


def test_a_difference_that_one_of_many_would_show_by_chance_is_not_shown():
    random = np.random.default_rng(0)
    base = make_summary("base", loss=random.normal(size=16).tolist(), judged=False)
    runs = [make_summary(f"run {k}", loss=random.normal(size=16).tolist(), judged=False) for k in range(30)]
    for correct, shown in (("max-t", 0), ("holm", 0), ("none", 2)):
        found = [each.effects[0] for each in compare_pairs([(run, base) for run in runs], correct=correct)]
        assert sum(effect.p <= 0.05 for effect in found) == 2
        assert sum(effect.verdict in {"better", "worse"} for effect in found) == shown
