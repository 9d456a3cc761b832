"""Runs against their baselines: pairing, censoring, what is not finite, verdicts and how often they are wrong."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.plain_statistics import restricted_times, share_of_smaller, wilson_roots
from tools.summaries import compare_pairs, make_summary

from rnnstudy.report.analysis.comparison import (
    CHANCE,
    FEWER_RESAMPLES,
    MANY,
    MEASURES,
    RESAMPLES,
    VERDICTS,
    Comparison,
    Effect,
    multiplicity_note,
)
from rnnstudy.report.analysis.intervals import Estimate
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.tables.by_pair import comparison_columns
from rnnstudy.report.tables.tidy import pair_rows

NAN, INF = math.nan, math.inf


def compare_one(this: Summary, that: Summary, *, seed: int = 0) -> Comparison:
    return compare_pairs([(this, that)], seed=seed)[0]


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
    inside = [[INF if taken is None or taken > budget else taken for taken in run] for run in steps]
    assert found.improvement.value == pytest.approx(share_of_smaller(*inside), abs=1e-12)


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
    assert found.verdict == "better"


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
    # Solved at the last step is better than never.
    assert found.improvement.value == 0.8


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
    assert difference(found).value == difference(found).low == difference(found).high == 1
    assert found.verdict == "too few"
    (note,) = comparison.notes
    for said in ("this", "base", "seeds 4 to 11", "seeds 0 to 7", "4 pairs"):
        assert said in note
    other = effect_of(compare_one(that, this), "loss")
    assert difference(other).value == difference(other).low == difference(other).high == -1


def test_without_a_common_seed_nothing_is_compared():
    comparison = compare_one(make_summary("a b/this", seed=8, loss=[1.0] * 8), make_summary("base", loss=[1.0] * 8))
    assert comparison.effects == ()
    assert comparison.pairs == 0
    (note,) = comparison.notes
    for said in ("a b/this", "base", "seeds 8 to 15", "seeds 0 to 7"):
        assert said in note


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
    assert (found.improvement.value, found.ties, found.verdict) == (0.875, 2, "better")
    assert effect_of(compare_one(lost, calm), "diverged").verdict == "worse"
    assert "diverged" not in {effect.measure for effect in compare_one(calm, calm_too(calm)).effects}


def calm_too(summary: Summary) -> Summary:
    return dataclasses.replace(summary, path=summary.path / "too")


def test_largest_norms_are_compared_as_logarithms_and_spikes_as_counts():
    wild = make_summary("wild", largest_norm=[1e3, 1e4, 1e5, 1e30, 1e3], spikes=[3, 4, 5, 60, 1])
    calm = make_summary("calm", largest_norm=[10.0] * 5, spikes=[0] * 5)
    norm, spikes = (effect_of(compare_one(calm, wild), measure) for measure in ("largest_norm", "spikes"))
    assert difference(norm).value == pytest.approx(-(2 + 3 + 4 + 29 + 2) / 5)
    assert difference(spikes).value == -73 / 5
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
    assert measures - {"steps_to_solve", "loss"} == ({"diverged"} if older else set())


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


def test_where_pairs_are_left_out_the_sign_test_decides():
    base = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    assert verdict([NAN] * 5, base[:5]) == "no difference shown"  # p = 0.0625
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
        ([1.0] * 4, [2.0, 3.0, 4.0, 5.0], "too few"),
        ([1.0], [2.0], "too few"),
        ([1.0, 1.1], [2.0, 2.3], "too few"),
        ([1.0] * 5, [2.0, 3.0, 4.0, 5.0, 3.5], "better"),
        ([2.0, 3.0, 4.0, 5.0, 3.5], [1.0] * 5, "worse"),
        ([1.0] * 5, [1.0] * 5, "no difference shown"),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 1.0, 4.0, 3.0, 6.0, 5.0], "no difference shown"),
        # One of six differs: the interval ends at exactly 0 and does not leave it out.
        ([1.0, 1.0, 1.0, 1.0, 1.0, 0.3], [1.0] * 6, "no difference shown"),
        ([1e-30, 2e-30, 3e-30, 1e-30, 2e-30], [1e-29] * 5, "better"),
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


def draw_pair(random: np.random.Generator, replicas: int) -> tuple[Summary, Summary]:
    """Draw a run and its baseline from one distribution: steps on a grid, a third never solved, losses spread wide."""
    return draw_run("this", random, replicas), draw_run("base", random, replicas)


def draw_run(name: str, random: np.random.Generator, replicas: int) -> Summary:
    taken = (np.ceil(random.lognormal(6.6, 0.7, replicas) / 50) * 50).astype(int).tolist()
    lost = random.random(replicas) < 0.3
    return make_summary(
        name,
        steps=[each if each <= 1000 else None for each in taken],
        status=[
            "diverged" if gone else "solved" if each <= 1000 else "finished"
            for gone, each in zip(lost, taken, strict=True)
        ],
        loss=random.lognormal(-2, 1, replicas).tolist(),
        horizon=random.integers(0, 20, replicas).astype(float).tolist(),
        decay=random.normal(-0.3, 0.1, replicas).tolist(),
        largest_norm=random.lognormal(1, 2, replicas).tolist(),
        spikes=random.poisson(3, replicas).tolist(),
    )


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [5, 8, 20])
def test_verdicts_are_wrong_about_as_seldom_as_said_where_nothing_differs(replicas):
    random = np.random.default_rng(replicas)
    found = compare_pairs([draw_pair(random, replicas) for _ in range(MANY)])
    for measure in MEASURES:
        verdicts = [effect.verdict for comparison in found if (effect := comparison.effect(measure))]
        wrong = 1 - verdicts.count("no difference shown") / len(verdicts)
        # Found: 0.041 to 0.088; of the fraction diverged, most of whose differences are 0, 0.013 to 0.040.
        # Of 1000, within 3 standard errors of what the note says.
        least = 0 if measure == "diverged" else CHANCE[0] - 0.02
        assert least <= wrong < CHANCE[1] + 0.02


@pytest.mark.slow
def test_intervals_hold_a_known_difference():
    random = np.random.default_rng(0)
    held: list[bool] = []
    for _ in range(2):
        pairs: list[tuple[Summary, Summary]] = []
        for _ in range(400):
            base = random.normal(2.0, 0.5, 10)
            this = base - 0.3 + random.normal(0, 0.4, 10)
            pairs.append((make_summary("this", loss=this.tolist()), make_summary("base", loss=base.tolist())))
        found = [difference(effect_of(comparison, "loss")) for comparison in compare_pairs(pairs)]
        held += [not each.leaves_out(-0.3) for each in found]
    # Found: 0.94 of 800.
    assert 0.92 < np.mean(held) < 0.97


# The same figures again.


def test_the_same_seed_gives_the_same_figures_and_another_does_not():
    random = np.random.default_rng(1)
    pair = draw_pair(random, 9)
    one, same, other = (compare_one(*pair, seed=seed) for seed in (5, 5, 6))
    assert figures(one) == figures(same)
    assert figures(one) != figures(other)


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.lists(st.sampled_from([1, 2, 5, 8]), min_size=2, max_size=8))
def test_the_order_of_the_comparisons_changes_no_figure(seed, sizes):
    random = np.random.default_rng(seed)
    pairs = [draw_pair(random, size) for size in sizes]
    order = random.permutation(len(pairs)).tolist()
    together, again = compare_pairs(pairs), compare_pairs([pairs[index] for index in order])
    for place, index in enumerate(order):
        np.testing.assert_equal(figures(again[place]), figures(together[index]))
    np.testing.assert_equal(figures(compare_one(*pairs[0])), figures(together[0]))


# What is said of them.


def test_the_note_counts_differences_that_could_be_told_from_zero():
    random = np.random.default_rng(0)
    base = random.normal(1, 0.1, 8)
    better = make_summary("this", loss=(base - 0.5 - random.random(8)).tolist(), steps=[None] * 8)
    same = make_summary("same", loss=(base + random.normal(0, 0.1, 8)).tolist(), steps=[None] * 8)
    few = make_summary("few", loss=[0.1, 0.2])
    that = make_summary("base", loss=base.tolist(), steps=[None] * 8)
    found = compare_pairs([(better, that), (same, that), (few, that)])
    # Steps to solve are all the same, the third has 2 pairs: two losses are left.
    note = multiplicity_note(found)
    assert note.startswith("2 differences")
    assert "0.1 to 0.2 would be" in note
    assert note.endswith("1 is.")
    assert not multiplicity_note(found[2:])
    assert not multiplicity_note([])


def test_the_note_leaves_out_what_could_not_be_decided():
    def note(this: Sequence[float], that: Sequence[float]) -> str:
        return multiplicity_note([compare_one(make_summary("this", loss=this), make_summary("base", loss=that))])

    assert not note([NAN] * 8, [NAN] * 8)
    assert not note([NAN] * 8, [NAN] * 3 + [1.0] * 5)  # 5 of 5 that do not tie would not do
    assert note([NAN] * 8, [NAN] * 2 + [1.0] * 6).startswith("1 difference could")
    three = compare_pairs(
        [
            (make_summary(f"this {k}", loss=[0.1 * k, 0.2, 0.3, 0.4, 0.9]), make_summary("base", loss=[1.0] * 5))
            for k in range(3)
        ]
    )
    assert "about 0.2 would be" in multiplicity_note(three)


@pytest.mark.slow
def test_many_comparisons_have_fewer_resamples_and_say_so():
    random = np.random.default_rng(0)
    this, that = draw_pair(random, 8)
    some, many = compare_pairs([(this, that)] * MANY), compare_pairs([(this, that)] * (MANY + 1))
    assert {each.resamples for each in some} == {RESAMPLES}
    assert {each.resamples for each in many} == {FEWER_RESAMPLES}
    assert str(FEWER_RESAMPLES) not in multiplicity_note(some)
    assert f"{FEWER_RESAMPLES} bootstrap resamples" in multiplicity_note(many)
    width, other = (difference(effect_of(each[0], "loss")) for each in (some, many))
    assert other.high - other.low == pytest.approx(width.high - width.low, rel=0.1)


def test_the_table_shows_difference_interval_share_and_verdict():
    this = make_summary("clip_norm", steps=[100, 200, 300, 100, 150], loss=[NAN, 0.1, 0.2, 0.1, 0.1, 0.2][:5])
    that = make_summary("none", steps=[400, 500, 450, None, 600], loss=[1.0] * 5)
    columns = {column.header: column for column in comparison_columns(compare_pairs([(this, that)]))}
    assert columns["run"].cells == (("clip_norm", ""),)
    assert columns["against"].cells == (("none", ""),)
    assert columns["pairs"].cells == (("5", ""),)
    main, interval = columns["Δ steps"].cells[0]
    assert main == "-420"
    assert interval.startswith("[-")
    assert columns["steps?"].cells == (("better", "P 1.00 [0.57, 1.00]"),)
    assert columns["Δ loss"].cells[0][0] == "-0.875"
    assert columns["Δ loss"].cells[0][1].endswith(", 1 left out")
    assert "Δ horizon" not in columns
    assert comparison_columns([]) == []


def test_cells_without_figures_are_dashes():
    this, other = make_summary("this", loss=[1.0] * 5), make_summary("other", seed=9, loss=[1.0] * 5)
    that = make_summary("base", loss=[1.0] * 5)
    columns = {column.header: column for column in comparison_columns(compare_pairs([(this, that), (other, that)]))}
    assert columns["Δ loss"].cells == (("0", "all equal"), ("\N{EN DASH}", ""))
    assert columns["loss?"].cells == (("no difference shown", "P 0.50 [0.17, 0.83]"), ("\N{EN DASH}", ""))


def test_rows_hold_raw_figures():
    this = make_summary("this", steps=[100, None, 300, 100, 150], loss=[0.5, 0.1, 0.2, 0.1, 0.1])
    that = make_summary("base", steps=[400, 500, 450, None, 600], loss=[1.0] * 5)
    other = make_summary("other", seed=9, loss=[1.0] * 5)
    single = make_summary("single", loss=[0.5])
    found = compare_pairs([(this, that), (other, that), (single, that)])
    rows = pair_rows(found)
    assert [(row["folder"], row["measure"]) for row in rows] == [
        ("this", "steps_to_solve"),
        ("this", "loss"),
        ("other", None),
        ("single", "steps_to_solve"),
        ("single", "loss"),
    ]
    assert len({tuple(row) for row in rows}) == 1
    expected = effect_of(found[0], "loss")
    loss = rows[1]
    assert loss["baseline_folder"] == "base"
    assert (loss["pairs"], loss["pairs_in_difference"], loss["left_out"], loss["budget"]) == (5, 5, 0, 1000)
    assert (loss["difference"], loss["difference_low"]) == (difference(expected).value, difference(expected).low)
    assert (loss["improvement"], loss["improvement_high"]) == (expected.improvement.value, expected.improvement.high)
    assert loss["verdict"] == "better"
    assert loss["resamples"] == RESAMPLES
    assert rows[2]["difference"] is None
    assert (rows[4]["difference"], rows[4]["difference_low"], rows[4]["difference_high"]) == (-0.5, None, None)
