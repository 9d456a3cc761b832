"""Which run is compared with which."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tools.summaries import summaries_of
from tools.synthetic_runs import Synthetic, edit_config, edit_json, write_run

from rnnstudy.core.errors import ConfigError
from rnnstudy.report.baseline import default_baseline, match_baselines
from rnnstudy.report.select import read_conditions


def spec(
    model: str = "rnn",
    mitigation: Sequence[str] = (),
    lag: int = 9,
    *,
    replicas: int = 2,
    seed: int = 0,
    norm: float = 1.0,
) -> Synthetic:
    settings = {"task": {"lag": lag}, "mitigation": {name: {"max_norm": norm} for name in mitigation}}
    return Synthetic(model=model, mitigation=mitigation, settings=settings, replicas=replicas, seed=seed, probes=2)


def matched(root: Path, *given: str) -> tuple[dict[str, str], list[str]]:
    summaries = summaries_of(root)
    conditions = read_conditions(given, summaries, option="--baseline")
    pairs, notes = match_baselines(summaries, conditions)
    return {run.label: other.label for run, other in pairs}, notes


def test_the_baseline_is_the_run_that_differs_in_the_condition_alone(tmp_path: Path) -> None:
    for model in ("rnn", "gru"):
        for lag in (9, 90):
            for mitigation in ((), ("clip_norm",), ("clip_norm", "omega")):
                write_run(tmp_path / f"{model}-{lag}-{len(mitigation)}", spec(model, mitigation, lag))
    by_mitigation, notes = matched(tmp_path, "mitigation=[]")
    assert by_mitigation == {
        f"{m}-{lag}-{k}": f"{m}-{lag}-0" for m in ("rnn", "gru") for lag in (9, 90) for k in (1, 2)
    }
    assert notes == []
    by_model, notes = matched(tmp_path, "model=rnn")
    assert by_model == {f"gru-{lag}-{k}": f"rnn-{lag}-{k}" for lag in (9, 90) for k in (0, 1, 2)}
    both, _ = matched(tmp_path, "model=rnn", "mitigation=[]")
    assert both == {
        f"{m}-{lag}-{k}": f"rnn-{lag}-0"
        for m in ("rnn", "gru")
        for lag in (9, 90)
        for k in (0, 1, 2)
        if (m, k) != ("rnn", 0)
    }


def test_strengths_of_a_mitigation_have_one_baseline(tmp_path: Path) -> None:
    write_run(tmp_path / "none", spec())
    for norm in (0.5, 1.0):
        write_run(tmp_path / f"clip {norm}", spec(mitigation=("clip_norm",), norm=norm))
    pairs, _ = matched(tmp_path, "mitigation=[]")
    assert pairs == {"clip 0.5": "none", "clip 1.0": "none"}
    by_strength, notes = matched(tmp_path, "clip_norm.max_norm=1")
    assert by_strength == {"clip 0.5": "clip 1.0"}
    assert notes == ["No baseline for rnn: no run has clip_norm.max_norm=1, mitigation=none."]


def test_a_run_without_a_baseline_is_named_with_what_is_missing(tmp_path: Path) -> None:
    write_run(tmp_path / "a", spec(lag=9))
    write_run(tmp_path / "b", spec(lag=90, mitigation=("clip_norm",)))
    pairs, notes = matched(tmp_path, "mitigation=[]")
    assert pairs == {}
    assert notes == ["No baseline for rnn + clip_norm, lag=90: no run has mitigation=[], lag=90."]


def test_many_runs_without_a_baseline_are_counted(tmp_path: Path) -> None:
    write_run(tmp_path / "a", spec(lag=1))
    for lag in range(2, 12):
        write_run(tmp_path / f"{lag}", spec(lag=lag, mitigation=("clip_norm",)))
    _, notes = matched(tmp_path, "mitigation=[]")
    assert len(notes) == 3
    assert "8 more runs, such as rnn + clip_norm, lag=4" in notes[-1]


def test_two_candidates_that_differ_in_nothing_but_their_seeds_are_chosen_by_common_seeds(tmp_path: Path) -> None:
    write_run(tmp_path / "far", spec(seed=40, replicas=8))
    write_run(tmp_path / "near", spec(seed=4, replicas=8))
    write_run(tmp_path / "run", spec(mitigation=("clip_norm",), seed=0, replicas=8))
    assert matched(tmp_path, "mitigation=[]") == ({"run": "near"}, [])


def test_candidates_that_cannot_be_told_apart_are_named(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / name, spec())
        edit_json(tmp_path / name / "run.json", fingerprint=name)
    write_run(tmp_path / "run", spec(mitigation=("clip_norm",)))
    pairs, notes = matched(tmp_path, "mitigation=[]")
    assert pairs == {}
    assert notes == ["More than one baseline for rnn + clip_norm, which may be one or two."]


def test_of_the_same_run_in_two_sweeps_the_one_beside_is_the_baseline(tmp_path: Path) -> None:
    for sweep, remedy in (("first", "clip_norm"), ("second", "omega")):
        write_run(tmp_path / sweep / "none", spec())
        write_run(tmp_path / sweep / remedy, spec(mitigation=(remedy,)))
    pairs, notes = matched(tmp_path, "mitigation=[]")
    assert pairs == {"first/clip_norm": "first/none", "second/omega": "second/none"}
    assert notes == []


def test_a_condition_on_an_initialisation_covers_its_settings(tmp_path: Path) -> None:
    for name, inits in (("plain", []), ("chrono", ["chrono"])):
        write_run(tmp_path / name, spec())
        choices = {"task": "x", "model": "rnn", "init": inits, "mitigation": []}
        model = {"hidden_size": 64, "init": {each: {"t_max": 9} for each in inits}}
        edit_config(tmp_path / name, choices=choices, model=model)
    assert matched(tmp_path, "init=[]") == ({"chrono": "plain"}, [])


@pytest.mark.parametrize("given", ["task.lag=9", "task=coconut_water"])
def test_runs_of_different_tasks_are_never_paired(tmp_path: Path, given: str) -> None:
    for lag in (9, 90):
        write_run(tmp_path / str(lag), spec(lag=lag))
    with pytest.raises(ConfigError, match=r"within one task; choose it by --where task"):
        matched(tmp_path, given)


def test_conditions_that_no_run_meets_together_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a", spec("rnn"))
    write_run(tmp_path / "b", spec("gru", ("clip_norm",)))
    with pytest.raises(ConfigError, match=r"No run meets --baseline model=gru, mitigation=\[\]"):
        matched(tmp_path, "model=gru", "mitigation=[]")


def test_the_default_is_the_run_without_mitigation_or_else_without_initialisation(tmp_path: Path) -> None:
    def default(*specs: tuple[Synthetic, list[str]]) -> str:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for number, (each, inits) in enumerate(specs):
            folder = write_run(root / str(number), each)
            names = {"task": "x", "model": each.model, "init": inits, "mitigation": list(each.mitigation)}
            edit_config(folder, choices=names)
        return default_baseline(summaries_of(root))

    assert default((spec(), []), (spec(mitigation=("a",)), ["chrono"])) == "mitigation=[]"
    assert default((spec(mitigation=("a",)), []), (spec(mitigation=("b",)), ["chrono"])) == "init=[]"
    assert default((spec(), [])) == ""


def test_the_default_of_two_runs_that_differ_in_one_setting_is_the_one_listed_first(tmp_path: Path) -> None:
    def default(*specs: Synthetic) -> str:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        return default_baseline(summaries_of(root, *specs))

    assert default(spec("rnn"), spec("gru")) == default(spec("gru"), spec("rnn")) == "model=gru"
    rates = [replace(spec(), settings={"optimizer": {"lr": rate}}) for rate in (0.01, 0.002)]
    assert default(*rates) == "optimizer.lr=0.002"
    assert default(spec(), spec("gru"), spec("lstm")) == ""
    assert default(spec(lag=9), spec(lag=10)) == ""
    assert default(spec(lag=9), spec("gru", lag=10)) == ""
    assert default(spec(), spec(seed=2)) == ""
