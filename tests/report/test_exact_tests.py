"""The tests of differences against full enumeration in plain Python."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference.plain_statistics import boschloo_p, exchanged_p, flipped_p_values, holm_p_values, sign_test_p
from tools.summaries import compare_pairs, make_summary

from rnnstudy.report.analysis.comparison import TOO_FEW
from rnnstudy.report.analysis.tests import (
    DRAWS,
    FEWER_DRAWS,
    LEVEL,
    MANY,
    boschloo,
    holm,
    least_p,
    least_pairs,
    mcnemar,
    paired_tests,
    permuted_means,
)

ROW = st.dictionaries(st.integers(0, 6), st.integers(-3, 3), min_size=1).filter(lambda row: any(row.values()))
ROWS = st.lists(st.tuples(ROW, st.booleans()), min_size=1, max_size=5)


def p_values(rows, primary=None, correct="max-t", seed=0):
    found = paired_tests(rows, primary=primary or [True] * len(rows), correct=correct, seed=seed)
    return [each.raw for each in found], [each.adjusted for each in found]


def random_row(count, *, shift=0.0, seed=0):
    values = np.random.default_rng([seed, count]).normal(1000 * shift, 1000, count)
    return dict(enumerate(map(int, values)))


@settings(max_examples=60)
@given(ROWS)
def test_all_signs_are_tried_in_all_rows_at_once(cases):
    rows, primary = [row for row, _ in cases], [first for _, first in cases]
    expected = flipped_p_values(rows, primary)
    raw, adjusted = p_values(rows, primary)
    assert raw == pytest.approx([float(each) for each, _ in expected], abs=1e-12)
    assert adjusted == pytest.approx([float(each) for _, each in expected], abs=1e-12)


def test_the_primary_measure_counts_double():
    # Worked by hand: z^2 is 6 in the first row, 16/4 in the second, of 64 and of 64 signs 2 and 8 reach it alone. As a
    # second measure the first row has 6 - 1.386 = 4.614, above 4: it still comes first, but now it can be reached.
    rows = [dict.fromkeys(range(6), 1), {0: 1, 1: 1, 2: 1, 3: 1, 4: 0, 5: 0}]
    assert p_values(rows, [True, True])[1] == pytest.approx([2 / 64, 8 / 64])
    assert p_values(rows, [True, False])[1] == pytest.approx([2 / 64, 8 / 64])
    rows = [dict.fromkeys(range(6), 1), {0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 0}]
    assert p_values(rows, [False, True])[1] == pytest.approx([4 / 64, 4 / 64])
    assert p_values(rows, [False, False])[1] == pytest.approx([2 / 64, 4 / 64])


def test_twelve_seeds_are_enumerated_and_thirteen_are_drawn():
    rows = [random_row(12, shift=0.8), random_row(12, shift=0.2, seed=1), {0: 1, 3: -1, 5: 1, 7: 1, 9: 1, 11: 1}]
    expected = flipped_p_values(rows, [True, False, False])
    assert p_values(rows, [True, False, False], seed=5) == p_values(rows, [True, False, False], seed=6)
    for found, wanted in zip(p_values(rows, [True, False, False]), zip(*expected, strict=True), strict=True):
        assert found == pytest.approx([float(each) for each in wanted], abs=1e-12)
    row = random_row(13, shift=0.3)
    (drawn,), _ = p_values([row], seed=5)
    assert p_values([row], seed=5)[0] == [drawn]
    assert p_values([row], seed=6)[0] != [drawn]
    ((exact, _),) = flipped_p_values([row], [True])
    assert abs(drawn - exact) < 5 * math.sqrt(exact * (1 - exact) / DRAWS)


@pytest.mark.parametrize("count", [16, 64])
def test_drawn_p_values_are_never_zero(count):
    row = {seed: 1000 + seed for seed in range(count)}
    raw, adjusted = p_values([row, random_row(count)])
    assert raw[0] == adjusted[0]
    assert 1 <= raw[0] * (DRAWS + 1) < 6
    many = [row, *[random_row(count, seed=seed) for seed in range(MANY)]]
    assert 1 <= p_values(many)[1][0] * (FEWER_DRAWS + 1) < 6


@pytest.mark.parametrize("seed", range(6))
def test_no_difference_is_more_certain_on_a_page_than_alone(seed):
    row = dict(enumerate([1.0] * 13 + [-1.0] * 4 + [0.0] * 15))
    for correct in ("max-t", "holm"):
        raw, adjusted = p_values([row], correct=correct, seed=seed)
        assert raw == [pytest.approx(2 * sum(math.comb(17, k) for k in range(5)) / 2**17, abs=1e-12)]
        assert adjusted >= raw


@settings(max_examples=20)
@given(st.lists(ROW, min_size=1, max_size=3))
def test_a_measure_repeated_a_hundred_times_counts_once(rows):
    _, adjusted = p_values(rows)
    assert p_values(rows * 100)[1] == pytest.approx(adjusted * 100, abs=1e-12)


@given(st.lists(ROW, min_size=1, max_size=4), st.sampled_from([1e300, 1e-300]), st.sampled_from([1e300, 1e-300]))
def test_the_unit_of_a_measure_does_not_matter(rows, first, others):
    scaled = [
        {seed: (others if number else first) * value for seed, value in row.items()} for number, row in enumerate(rows)
    ]
    assert p_values(scaled)[1] == pytest.approx(p_values(rows)[1])


def test_no_difference_at_all_is_no_evidence_and_costs_nothing():
    row, none = dict.fromkeys(range(6), 1), dict.fromkeys(range(6), 0)
    for correct in ("max-t", "holm", "none"):
        assert p_values([none, row, none], correct=correct) == ([1, 2 / 64, 1], [1, 2 / 64, 1])
    assert p_values([none]) == ([1], [1])
    assert p_values([]) == ([], [])


@given(ROWS)
def test_holm_and_none_start_from_the_p_values_of_each_alone(cases):
    rows = [row for row, _ in cases]
    alone = [p_values([row])[0][0] for row in rows]
    assert p_values(rows, correct="none") == (pytest.approx(alone), pytest.approx(alone))
    assert p_values(rows, correct="holm")[1] == pytest.approx(holm_p_values(alone))


@given(st.lists(st.sampled_from([0.001, 0.01, 0.02, 0.03, 0.3, 1.0]), min_size=1, max_size=8))
def test_holm_against_its_definition(alone):
    assert holm(np.array(alone)).tolist() == pytest.approx(holm_p_values(alone))


@pytest.mark.parametrize(("gained", "lost"), [(5, 0), (0, 6), (7, 1), (3, 3), (2, 9), (0, 0), (1, 0), (7, 0), (1, 8)])
def test_mcnemar_counts_all_ways(gained, lost):
    expected = float(sign_test_p(gained, lost))
    assert mcnemar(gained, lost) == pytest.approx(expected, abs=1e-12)
    row = dict(enumerate([-0.1] * lost + [0.1] * gained + [0.0] * 8))
    assert p_values([row])[0] == pytest.approx([expected], abs=1e-12)


@pytest.mark.parametrize("pairs", [4, 5, 8, 12, 16, 64])
def test_four_discordant_pairs_are_never_enough(pairs):
    row = dict(enumerate([1.0] * 4 + [0.0] * (pairs - 4)))
    for correct in ("max-t", "holm", "none"):
        raw, adjusted = p_values([row], correct=correct)
        assert raw == [0.125]
        assert adjusted == pytest.approx([0.125], abs=0.02)


def test_five_pairs_alike_have_no_verdict():
    this, that = (make_summary(name, loss=[loss] * 5) for name, loss in (("this", 1.0), ("that", 2.0)))
    for correct in ("max-t", "holm", "none"):
        effect = compare_pairs([(this, that)], measure="loss", correct=correct)[0].main
        assert effect is not None
        assert effect.p == 0.0625
        assert effect.verdict == TOO_FEW
        assert effect.difference is not None
        assert math.isnan(effect.difference.low)
        assert math.isnan(effect.difference.high)


@pytest.mark.parametrize(
    "table", [(2, 16, 9, 16), (0, 4, 4, 4), (3, 8, 6, 8), (1, 3, 4, 7), (5, 6, 2, 9), (4, 8, 4, 8)]
)
def test_boschloo_against_all_tables(table):
    assert boschloo(*table) == pytest.approx(boschloo_p(*table), rel=2e-3)


def test_two_against_nine_of_sixteen_differ_by_either_design():
    assert boschloo(2, 16, 9, 16) == pytest.approx(0.0102, abs=1e-4)
    assert mcnemar(0, 7) == 2 / 2**7
    assert mcnemar(1, 8) == 20 / 2**9
    assert boschloo(0, 9, 0, 7) == boschloo(9, 9, 7, 7) == 1


SAMPLE = st.lists(st.integers(-3, 3), min_size=2, max_size=6)


@given(SAMPLE, SAMPLE, st.sampled_from([1.0, 2.0**1021, 2.0**-1000]))
@example([0, -1, -2, 3], [1, -1], 1.0)  # no difference, which thirds of these numbers would miss by rounding
def test_independent_means_are_exchanged_in_all_ways(this, that, unit):
    found = permuted_means(tuple(unit * x for x in this), tuple(unit * x for x in that), 0)
    assert found == pytest.approx(float(exchanged_p(this, that)), abs=1e-12)


def test_more_ways_than_can_be_tried_are_drawn_by_the_seed():
    this, that = (tuple(map(float, random_row(12, shift=seed / 2, seed=seed).values())) for seed in range(2))
    drawn = permuted_means(this, that, 0)
    permuted_means.cache_clear()
    assert permuted_means(this, that, 0) == drawn
    assert permuted_means(this, that, 1) != drawn
    far = tuple(value + 10_000 for value in this)
    assert permuted_means(far, this, 0) == pytest.approx(2 / (DRAWS + 1))


@pytest.mark.parametrize("differences", [1, 2, 7, 80, 1000])
@pytest.mark.parametrize("correct", ["max-t", "holm", "none"])
def test_fewest_pairs_are_the_first_with_a_p_value_that_can_be_small_enough(correct, differences):
    pairs = least_pairs(correct, differences)
    assert least_p(correct, differences, pairs) <= LEVEL < least_p(correct, differences, pairs - 1)


@pytest.mark.parametrize("correct", ["max-t", "holm", "none"])
def test_the_least_p_value_is_that_of_pairs_that_all_agree(correct):
    rows = [random_row(8, seed=1), {seed: 10 + seed for seed in range(8)}, random_row(8, seed=2)]
    assert p_values(rows, correct=correct)[1][1] == pytest.approx(least_p(correct, 3, 8))
    assert least_p("holm", 500, 4) == 1


def test_few_pairs_among_many_seeds_are_still_exact():
    random = np.random.default_rng(3)
    few = dict(enumerate(random.normal(0.8, 1, 8).tolist()))
    many = {seed: float(value) for seed, value in enumerate(random.normal(size=16))}
    alone = p_values([few], correct="none")[0][0]
    assert p_values([few, many], correct="none")[0][0] == alone  # 256 signs, not draws of 16
    fraction = dict(enumerate([1.0] * 13 + [-1.0] * 4 + [0.0] * 15))
    assert p_values([fraction], correct="max-t")[1][0] == mcnemar(13, 4)
