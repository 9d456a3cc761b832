"""The command as a user runs it."""

import json
import os
import re
import subprocess
import sys
from contextlib import suppress

import pytest
from tools.members import SMALL, members
from tools.synthetic_runs import Synthetic, write_run

import rnnstudy
from rnnstudy.cli.main import main


def call(folder, *arguments: str, code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "rnnstudy", *arguments], capture_output=True, text=True, cwd=folder)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_sweep_and_its_comparison(tmp_path):
    told = call(tmp_path, "train", "-m", "model=rnn,lstm", "mitigation=[],[clip_norm]", *SMALL, "study=mine")
    for number, name in enumerate(["rnn", "rnn + clip_norm", "lstm", "lstm + clip_norm"], start=1):
        assert f"[{number}/4] {name}: solved 0 of 3 replicas" in told
    assert "rnnstudy compare outputs/mine" in told
    results = sorted((tmp_path / "outputs" / "mine").glob("*/result.json"))
    assert len(results) == 4
    for path in results:
        result = json.loads(path.read_text())
        assert result["status"] == ["finished"] * 3
        assert result["steps_to_solve"] == [None] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs"]

    again = call(tmp_path, "train", "-m", "model=rnn,lstm", "mitigation=[],[clip_norm]", *SMALL, "study=mine")
    assert "4 of 4 runs finished already, nothing to do" in again

    table = call(tmp_path, "compare", "outputs/mine")
    assert "clip_norm" in table
    report = tmp_path / "outputs" / "mine" / "report"
    assert {"report.html", "table.csv"} <= {path.name for path in report.iterdir()}
    assert len(list(report.glob("*.png"))) >= 4


@pytest.mark.slow
def test_the_folder_of_another_configuration_is_refused(tmp_path):
    call(tmp_path, "train", *SMALL, "run_dir=here")
    told = call(tmp_path, "train", *SMALL, "run_dir=here", "task.lag=25", code=1)
    assert re.fullmatch(r"rnnstudy: here holds a run of another configuration: task\.lag .*\n", told)


@pytest.mark.slow
def test_compare_works_on_what_is_left(tmp_path):
    call(tmp_path, "train", "-m", "model=rnn,gru,lstm", *SMALL, "study=mine")
    rnn, gru, lstm = sorted((tmp_path / "outputs" / "mine").glob("*_*"), key=lambda path: "rgl".index(path.name[0]))
    (rnn / "result.json").unlink()
    (gru / "result.json").write_text('{"status": ')
    told = call(tmp_path, "compare", "outputs/mine")
    assert rnn.name in told.replace("\n", "")
    assert gru.name in told.replace("\n", "")
    assert "lstm" in told
    assert lstm.is_dir()


def test_help_and_version(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def told(*arguments: str) -> str:
        with suppress(SystemExit):
            main(arguments)
        return capsys.readouterr().out

    assert "compare" in told()
    assert "board" in told("--help")
    assert rnnstudy.__version__ in told("--version")
    help_of_train = told("train", "--help")
    assert f"model: {', '.join(members('model'))}" in help_of_train
    assert "task: adding, associative_recall, coconut_water, copy_memory" in help_of_train
    assert "max_norm" in call(tmp_path, "train", "--cfg", "job", "mitigation=[clip_norm]")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["fly"], ["compare"], ["board", ".", "--port", "x"]])
def test_misuse_exits_with_two(capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: rnnstudy" in capsys.readouterr().err


def test_a_full_disk_behind_the_output_is_one_line_and_a_pipe_that_ends_is_none(tmp_path):
    write_run(tmp_path / "run", Synthetic(replicas=2, probes=2))
    command = [sys.executable, "-m", "rnnstudy", "status", "--all", str(tmp_path)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "rnnstudy: what was to be shown cannot be written: No space left on device.\n",
    )
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as broken:
        done = subprocess.run(command, stdout=broken, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
