"""`rnnstudy status` as a user runs it."""

import json
from pathlib import Path

import pytest
from tools.synthetic_runs import Synthetic, edit_json, write_run

from rnnstudy.cli.main import main
from rnnstudy.runs.failure import record
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.lock import Lock


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A finished, a failed, a running and a stopped run."""
    study = tmp_path / "a study"
    for name in ("done", "broken", "active", "stopped"):
        write_run(study / name, Synthetic(replicas=2, probes=2, finished=name == "done"))
        edit_json(study / name / "run.json", overrides=["model=lstm", f"study={name} it"])
    record(RunFolder(study / "broken"), "ValueError: [red]no\x1b[31m such lag")
    return study


def told(capsys, *arguments: str | Path) -> str:
    """What the command prints."""
    assert main(["status", *map(str, arguments)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out


def test_every_run_is_listed_with_the_commands_that_go_on(study: Path, capsys) -> None:
    with Lock(RunFolder(study / "active").lock, lambda: {"step": 7, "num_steps": 9}):
        lines = told(capsys, study).splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["running", "failed", "interrupted"]
    assert lines[0].startswith(f"running      {study / 'active'}  step 7/9  process ")
    assert lines[2] == f"interrupted  {study / 'stopped'}  step 0/2000  stopped"
    assert lines[4] == "4 runs: 1 running, 1 failed, 1 interrupted, 1 finished"
    assert lines[5:] == [
        "",
        "To go on with 1 of them, unless a sweep that is running does them:",
        "  rnnstudy train model=lstm 'study=broken it'",
        "",
        "To go on with 1 of them, unless a sweep that is running does them:",
        "  rnnstudy train model=lstm 'study=stopped it'",
    ]


def test_what_an_error_says_is_shown_as_it_is_and_does_nothing_to_the_terminal(study: Path, capsys) -> None:
    shown = told(capsys, study)
    assert "ValueError: [red]no" in shown
    assert "\x1b" not in shown


def test_finished_runs_are_counted_and_listed_when_asked_for(study: Path, capsys) -> None:
    done = f"{study / 'done'}  step 2000"
    assert done not in told(capsys, study)
    assert done in told(capsys, study, "--all")


def test_finished_runs_alone_are_one_line(study: Path, capsys) -> None:
    assert told(capsys, study / "done") == "1 run: 1 finished\n"


def test_json_holds_the_same_for_scripts(study: Path, capsys) -> None:
    content = json.loads(told(capsys, study, "--json"))
    assert {Path(run["folder"]).name: run["condition"] for run in content["runs"]} == {
        "done": "finished",
        "broken": "failed",
        "active": "interrupted",
        "stopped": "interrupted",
    }
    assert content["runs"][0]["detail"] == "ValueError: [red]no\x1b[31m such lag"
    assert content["runs"][1]["num_steps"] == 2000
    assert sum(content["commands"].values()) == 3


@pytest.mark.parametrize(("name", "rule"), [("nowhere", "is no folder"), ("empty", "there is no run below")])
def test_where_no_run_is_it_is_one_line(tmp_path: Path, capsys, name: str, rule: str) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["status", str(tmp_path / name)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert rule in shown.err
    assert str(tmp_path / name) in shown.err
