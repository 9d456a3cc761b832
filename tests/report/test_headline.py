"""Who is best, who is worst, and who is neither."""

import math
from dataclasses import replace

import pytest
from tools.summaries import compare_pairs, make_summary

from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.select import sort_rows
from rnnstudy.report.sentences.headline import headline
from rnnstudy.report.tables.by_run import DASH, NAN, columns, show_number, show_steps

DIVERGED = (None,) * 6
UNTESTED = " (the order is not shown to be more than chance)"


def run(name: str, *, loss: float = 2.0, steps: tuple[int | None, ...] = DIVERGED, diverged: int = 0) -> Summary:
    status = ["diverged"] * diverged + ["finished" if taken is None else "solved" for taken in steps[diverged:]]
    losses = [math.nan] * diverged + [loss] * (len(steps) - diverged)
    return make_summary(name, steps=steps, status=status, loss=losses, last_step=14)


def test_a_run_that_diverged_has_never_the_lowest_loss():
    lost, fair, poor = run("lost", loss=0.1, diverged=3), run("fair", loss=2.0), run("poor", loss=3.0)
    assert headline([lost, fair, poor]) == [
        f"None of 3 runs solved the task in any replica; lowest final loss of 2{UNTESTED}: fair (2.000); highest: poor "
        "(3.000)."
    ]
    assert headline([lost, fair]) == ["Neither run solved the task in any replica; final loss of fair (2.000)."]
    assert headline([lost, run("gone", diverged=6)]) == ["Neither run solved the task in any replica."]


def test_of_equal_runs_none_is_named_alone():
    assert headline([run("a"), run("b")]) == ["Neither run solved the task in any replica."]
    assert headline([run("a"), run("b"), run("c")]) == ["None of 3 runs solved the task in any replica."]
    best = run("best", steps=(5,) * 6)
    assert headline([best, run("a"), run("b")]) == [
        f"Best of 3 runs{UNTESTED}: best solved 6 of 6 replicas (median 5 steps); worst: a and b each solved 0 "
        f"of 6 replicas."
    ]
    assert headline([best, run("a"), run("b"), run("c")])[0].endswith("; worst: 3 runs each solved 0 of 6 replicas.")
    equal = [run("a", loss=1.0, steps=(5,) * 6), run("b", loss=2.0, steps=(5,) * 6)]
    assert headline(equal) == ["Both runs solved the task in every replica, in equally many steps (median 5)."]
    three = [run("a", steps=(5,) * 6), run("b", steps=(7,) * 6), run("c", steps=(7,) * 6)]
    assert UNTESTED in headline(three)[0]
    assert headline(three)[0].endswith("fastest: a (median 5 steps); slowest: b and c (median 7 steps).")


def test_how_many_runs_have_ended_is_told_where_some_have_not():
    ended, open_ = run("a", steps=(5,) * 6), make_summary("b", steps=DIVERGED, finished=False)
    assert headline([ended, open_]) == ["1 of 2 runs has ended. a solved 6 of 6 replicas (median 5 steps)."]


def test_a_ranking_needs_no_caveat_where_a_test_decides_between_best_and_worst():
    best, worst = run("best", steps=(5,) * 6), run("worst")
    (decided,) = compare_pairs([(best, worst)])
    assert headline([best, worst], [decided]) == [
        "Best of 2 runs: best solved 6 of 6 replicas (median 5 steps); worst: worst solved 0 of 6 replicas."
    ]
    other = run("other", steps=(5, 5, 5, None, None, None))
    (open_,) = compare_pairs([(other, worst)])
    assert headline([other, worst], [open_])[0].startswith(f"Best of 2 runs{UNTESTED}: other solved 3 of 6")
    assert UNTESTED in headline([best, worst, run("third")], [decided])[0]  # worst and third share the last place


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((None,), "only did not solve the task."),
        ((9,), "only solved the task (median 9 steps)."),
        ((9, 9), "only solved 2 of 2 replicas (median 9 steps)."),
        ((None, None), "only solved 0 of 2 replicas."),
    ],
)
def test_one_run_is_told_without_plurals(steps: tuple[int | None, ...], said: str):
    assert headline([run("only", steps=steps)]) == [said]


def test_no_steps_are_told_of_a_run_that_diverged():
    assert show_steps(run("lost", diverged=3)) == NAN
    assert show_steps(run("fair", diverged=2)) == "> 14"


def test_columns_of_dashes_are_left_out():
    open_ended = replace(make_summary("a", loss=[1.0, 2.0], judged=False), status=("finished", "finished"))
    headers = {column.header for column in columns([open_ended])}
    assert not headers & {"solved", "steps"}
    assert headers >= {"n", "loss"}


def test_explosions_have_columns_where_there_are_any():
    lost = make_summary(
        "lost",
        status=["diverged", "diverged", "finished"],
        diverged_at=[40, 3, None],
        largest_norm=[6e33, 1.0, 20.0],
        spikes=[10, 11, 0],
    )
    calm = make_summary("calm", loss=[1.0] * 3, largest_norm=[2.0, 1.0, 3.0], spikes=[0] * 3)
    old = make_summary("old", loss=[1.0] * 3)
    table = {column.header: column.cells for column in columns([lost, calm, old])}
    assert table["diverged"] == (("2/3", "from step 3"), ("0/3", ""), ("0/3", ""))
    assert table["largest norm"] == (("6.00e+33", "median 20"), ("3.00", "median 2.0"), (DASH, ""))
    assert table["spikes"] == (("21", ""), ("0", ""), (DASH, ""))
    assert "spikes" not in {column.header for column in columns([old])}
    summaries = [old, calm, lost]
    for header in ("diverged:desc", "largest norm:desc", "spikes:desc"):
        assert sort_rows(summaries, [header])[0] is lost


def test_the_ratios_of_replicas_that_diverged_are_not_shown_as_the_last():
    def cell(status: str, *ratios: float) -> tuple[str, str]:
        summary = make_summary("a", ratio_first=[-4.0] * 2, ratio_last=ratios, status=[status, "finished"])
        return next(column.cells[0] for column in columns([summary]) if column.header == "log ratio")

    assert cell("finished", -6.0, -0.2) == ("-4.0", "→ -6.0 to -0.2")
    assert cell("finished", -math.inf, -math.inf) == ("-4.0", "→ zero")
    assert cell("finished", -1.0, math.nan) == ("-4.0", "→ NaN")
    assert cell("diverged", -6.0, -0.2) == ("-4.0", "→ -0.2")
    lost = make_summary("a", ratio_first=[-4.0], ratio_last=[-4.0], status=["diverged"])
    assert ("-4.0", f"→ {DASH}") in [column.cells[0] for column in columns([lost])]


def ends_of(*losses: float) -> tuple[str, str]:
    table = {column.header: column for column in columns([make_summary("a", loss=losses)])}
    return table["loss"].cells[0]


def test_ranges_show_ends_that_can_be_read():
    assert ends_of(250.0, 333.0, 570.0) == ("333", f"250{DASH}570")
    assert ends_of(0.5, 0.5, 0.5) == ("0.500", "")
    assert ends_of(2.001, 2.02, 2.04) == ("2.02", f"2.00{DASH}2.04")
    assert ends_of(math.nan, 0.5, math.nan) == ("NaN", "0.50 to NaN")
    assert ends_of(math.nan, math.nan) == ("NaN", "")
    assert ends_of(math.inf, 0.5, math.inf) == ("∞", f"0.50{DASH}∞")
    assert [show_number(value) for value in (5678.0, 123456.0, 1.234e6, 1e-9)] == [
        "5680",
        "123000",
        "1.23e+06",
        "1.00e-09",
    ]
