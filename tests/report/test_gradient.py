"""Verdicts on the gradient, replica by replica."""

import math
from dataclasses import replace

import pytest
from tools.summaries import Values, make_summary

from rnnstudy.report.analysis.gradient import FACTOR, explosions, last_ratios
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.sentences.gradient import gradient_clauses, tally_gradients
from rnnstudy.report.sentences.headline import headline

CAMPS = (-0.2, -6.0, -0.2, -6.0, -0.2, -6.0, -0.2, -6.0)


def run(name: str = "rnn", *, last: Values = (), first: Values = (), lost: int = 0, **given) -> Summary:
    count = max(len(last), len(first))
    status = ["diverged"] * lost + ["finished"] * (count - lost)
    last, first = tuple(last) or (0.0,) * count, tuple(first) or tuple(last)
    return make_summary(name, ratio_first=first, ratio_last=last, loss=[2.0] * count, status=status, **given)


@pytest.mark.parametrize(
    ("ratio", "counts"),
    [
        (-2.0, (1, 0, 0)),
        (-2.01, (0, 1, 0)),
        (-math.inf, (0, 1, 0)),
        (5.0, (1, 0, 0)),
        (math.inf, (0, 0, 1)),
        (math.nan, (0, 0, 1)),
        (None, (0, 0, 0)),
    ],
)
def test_a_replica_vanishes_below_one_over_the_factor(ratio: float | None, counts: tuple[int, int, int]):
    assert last_ratios(make_summary("a", ratio_last=[ratio])).counts == counts


@pytest.mark.parametrize(("factor", "vanish", "explode"), [("100.0", 4, 2), ("1e7", 0, 0), ("10", 4, 4), ("?", 4, 2)])
def test_the_factor_is_that_of_the_horizon(factor: str, vanish: int, explode: int):
    summary = make_summary("a", ratio_last=CAMPS, growth=[0.0, 1.5, 2.0, 2.1, 7.0], settings={FACTOR: factor})
    assert len(last_ratios(summary).vanishes) == vanish
    assert len(explosions(summary)) == explode


def test_two_camps_are_two_verdicts():
    summary = run(last=CAMPS)
    told = (
        "the gradient reaches lag 19 in 4 of 8 replicas (10^-0.2 of that at lag 0) and vanishes before it in 4 of 8 "
        "(10^-6.0)"
    )
    assert gradient_clauses(summary) == [told]
    assert headline([summary])[1] == f"At the last probe, in rnn {told}."
    assert tally_gradients([summary, summary]) == [
        "After training, the gradient reaches the information in some replicas of both configurations."
    ]


def test_the_verdicts_before_training_are_told_where_they_differ():
    assert gradient_clauses(run(first=(-5.0, -6.0), last=(-3.0, -4.0)))[1:] == []
    assert gradient_clauses(run(first=(-5.0, -math.inf), last=(-1.0, 0.0)))[1:] == [
        "before training it vanished before lag 19 in 2 of 2 replicas (exactly zero to 10^-5.0 of that at lag 0)"
    ]
    assert gradient_clauses(run(first=(-1.0,), last=(math.nan,))) == [
        "the gradient is not finite, or zero at lag 0 too, at lag 19",
        "before training it reached lag 19 (10^-1.0 of that at lag 0)",
    ]


def test_a_replica_that_diverged_has_no_last_probe():
    # Its last probe was before: 10^0 would reach.
    lost, some = run("lost", last=[0.0] * 4, lost=4), run("some", last=[0.0, 0.0, -9.0, -8.0], lost=2)
    assert headline([lost])[1:] == []
    assert gradient_clauses(lost) == ["before training it reached lag 19 in 4 of 4 replicas (10^0.0 of that at lag 0)"]
    assert headline([some])[1] == (
        "At the last probe, in some the gradient vanishes before lag 19 in 2 of 4 replicas (10^-9.0 to 10^-8.0 of that "
        "at lag 0)."
    )
    assert tally_gradients([lost, some, run("a", last=[0.0] * 4)]) == [
        "After training, the gradient reaches the information in every replica of 1 of 2 configurations (10^0.0 of "
        "that at lag 0) and vanishes before it in every replica of 1 (10^-9.0 to 10^-8.0), not counting 1 whose "
        "replicas all diverged."
    ]


def test_explosions_and_spikes_are_told_with_their_sizes():
    calm = run("calm", last=[0.0] * 4, growth=[0.1] * 4, spikes=[0.0] * 4, largest_norm=[3.0] * 4)
    wild = run("wild", last=[-5.0] * 4, growth=[0.1, 5.2, 2.5, None], spikes=[0, 3, 1, 0], largest_norm=[1, 4740, 9, 1])
    assert gradient_clauses(calm)[1:] == []
    assert gradient_clauses(wild)[1:] == [
        "it exploded in 2 of 3 replicas, up to 10^5.2 times that at lag 0",
        "4 steps spiked, up to a norm of 4740",
    ]
    assert tally_gradients([calm, wild])[1:] == [
        "The gradient exploded in 2 of 7 replicas, up to 10^5.2 times that at lag 0 in wild; 4 steps spiked, up to a "
        "norm of 4740 in wild."
    ]
    assert tally_gradients([replace(wild, is_edited=True)]) == ["4 steps spiked, up to a norm of 4740."]
