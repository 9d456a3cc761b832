"""Conditions, sorting, grouping."""

from pathlib import Path
from typing import Any

import pytest
from tools.summaries import summaries_of
from tools.synthetic_runs import Synthetic, edit_config, edit_json, write_run

from rnnstudy.core.errors import ConfigError
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.select import group_rows, read_conditions, sort_rows


def task(lag: int, **more: Any) -> dict[str, Any]:
    return {"task": {"lag": lag, "seq_len": lag + 2}, **more}


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[Summary]:
    specs = [
        Synthetic(model=model, mitigation=mitigation, replicas=2, probes=2, settings=task(lag))
        for model in ("rnn", "lstm")
        for mitigation in ((), ("clip_norm",), ("omega", "clip_norm"))
        for lag in (9, 100)
    ]
    return summaries_of(tmp_path_factory.mktemp("x"), *specs)


def meeting(rows: list[Summary], *given: str) -> list[str]:
    conditions = read_conditions(given, rows, option="--where")
    return sorted(row.name for row in rows if all(condition.is_met_by(row) for condition in conditions))


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (["task.lag=100"], 6),
        (["lag=100"], 6),
        (["lag=1e2"], 6),
        (["lag=100.0"], 6),
        (["model=lstm"], 6),
        (["model=lstm,rnn"], 12),
        (["mitigation=[]"], 4),
        (["mitigation=none"], 4),
        (["mitigation=[clip_norm]"], 4),
        (["mitigation=clip_norm"], 4),
        (["mitigation=[omega,clip_norm]"], 4),
        (["mitigation=[omega, clip_norm]"], 4),
        (["mitigation=[],[clip_norm]"], 8),
        (["mitigation=[],[omega,clip_norm]", "model=rnn"], 4),
        (["mitigation=[],[omega,clip_norm],model=rnn,lag=9"], 2),
        (["optimizer.lr=1e-3"], 12),
        (["lr=0.001"], 12),
        (["seed=0"], 12),
        (["clip_norm.max_norm=1"], 8),
        ([], 12),
    ],
)
def test_a_condition_is_met_by_so_many(rows: list[Summary], given: list[str], count: int) -> None:
    assert len(meeting(rows, *given)) == count


def test_the_runs_that_meet_a_condition_are_the_right_ones(rows: list[Summary]) -> None:
    assert meeting(rows, "mitigation=[omega,clip_norm]", "lag=9") == [
        "lstm + omega + clip_norm, lag=9, seq_len=11",
        "rnn + omega + clip_norm, lag=9, seq_len=11",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("task.lga=5", "--where: no run has a setting 'task.lga'. Did you mean 'task.lag'? Allowed: "),
        ("lga=5", "--where: no run has a setting 'lga'. Did you mean 'lag'? Allowed: "),
        ("modle=rnn", "--where: no run has a setting 'modle'. Did you mean 'model'? Allowed: "),
        ("lag=7", "--where: no run has task.lag=7. There are: 9, 100."),
        ("model=rnn,gru", "--where: no run has model=gru. There are: lstm, rnn."),
        ("mitigation=[omega]", "There are: clip_norm, none, omega + clip_norm."),
        ("lag", "--where takes KEY=VALUE, such as task.lag=100 or mitigation=[], got 'lag'."),
        ("lag=", "--where: no run has task.lag=. There are: 9, 100."),
        (
            "max_norm=1",
            "'max_norm' may be mitigation.clip_norm.max_norm or mitigation.omega.max_norm; write more of it",
        ),
    ],
)
def test_a_wrong_condition_says_what_there_is(rows: list[Summary], given: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        meeting(rows, given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_values_are_not_all_listed(tmp_path: Path) -> None:
    rows = summaries_of(tmp_path, *(Synthetic(replicas=1, probes=2, settings=task(lag)) for lag in range(1, 16)))
    with pytest.raises(ConfigError, match=r"There are: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 3 more\."):
        meeting(rows, "lag=99")


def test_values_that_differ_in_the_last_digit_are_told_apart(tmp_path: Path) -> None:
    rates = [0.123456789, 0.123456788]
    rows = summaries_of(
        tmp_path, *(Synthetic(replicas=1, probes=2, settings={"optimizer": {"lr": rate}}) for rate in rates)
    )
    assert [row.differing for row in rows] == [{"optimizer.lr": "0.123456788"}, {"optimizer.lr": "0.123456789"}]
    assert len(meeting(rows, "lr=0.123456789")) == 1


def set_figures(root: Path, **figures: tuple[float, ...]) -> None:
    for name, losses in figures.items():
        write_run(root / name, Synthetic(model=name, replicas=3, probes=2))
        solved = sum(loss < 1 for loss in losses)
        edit_json(
            root / name / "result.json",
            final={"eval/loss": losses},
            status=["solved"] * solved + ["finished"] * (3 - solved),
            steps_to_solve=[100 * solved] * solved + [None] * (3 - solved),
        )


def test_rows_are_sorted_by_columns_and_settings_with_what_is_missing_last(tmp_path: Path) -> None:
    nan = float("nan")
    set_figures(tmp_path, b=(0.5, 0.5, 0.5), a=(0.2, 0.3, 0.4), d=(3, 2, 2), c=(nan, nan, 5))
    edit_json(tmp_path / "d" / "run.json", replicas=3)
    rows = summaries_of(tmp_path)

    def order(*given: str) -> str:
        return "".join(row.model for row in sort_rows(rows, given))

    assert order() == "abcd"
    assert order("loss") == "abdc"  # the median of c is NaN, the worst
    assert order("loss:desc") == "cdba"
    assert order("loss:asc") == "abdc"
    assert order("model:desc") == "dcba"
    assert order("steps", "loss") == "abdc"
    assert order("solved:desc", "model:desc") == "badc"
    # A column that no run has a figure in changes nothing, and what has none is last, whichever way.
    assert order("active") == order("active:desc") == "abcd"
    write_run(tmp_path / "e", Synthetic(model="e", mitigation=["clip_norm"], replicas=3, probes=2))
    rows = summaries_of(tmp_path)
    assert order("model") == "abcde"
    assert order("active") == order("active:desc") == "eabcd"


def test_an_unknown_column_names_those_there_are(rows: list[Summary]) -> None:
    with pytest.raises(ConfigError, match=r"--sort: no run has a setting 'los'.* Columns: n, solved, steps, diverged"):
        sort_rows(rows, ["los"])


def test_groups_are_in_the_order_of_their_values_and_keep_the_order_of_rows(rows: list[Summary]) -> None:
    ordered = sort_rows(rows, ["model:desc"])
    groups = group_rows(ordered, ["lag", "mitigation"])
    assert [group.title for group in groups] == [
        f"lag={lag}, mitigation={names}" for lag in (9, 100) for names in ("clip_norm", "none", "omega + clip_norm")
    ]
    for group in groups:
        assert [row.model for row in group.summaries] == ["rnn", "lstm"]
    (whole,) = group_rows(rows, [])
    assert whole.title == ""
    assert list(whole.summaries) == rows


def test_a_run_without_the_setting_is_a_group_of_its_own(tmp_path: Path) -> None:
    rows = summaries_of(
        tmp_path,
        Synthetic(replicas=1, probes=2),
        Synthetic(replicas=1, probes=2, mitigation=["clip_norm"], model="gru"),
    )
    assert [group.title for group in group_rows(rows, ["max_norm"])] == ["max_norm=–", "max_norm=1"]


def test_runs_without_choices_are_selected_by_their_settings(tmp_path: Path) -> None:
    write_run(tmp_path / "a", Synthetic(replicas=1, probes=2))
    edit_config(tmp_path / "a", choices=None)
    rows = summaries_of(tmp_path)
    assert len(meeting(rows, "hidden_size=64")) == 1
    with pytest.raises(ConfigError, match="no run has a setting 'mitigation'"):
        meeting(rows, "mitigation=[]")
