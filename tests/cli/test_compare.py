"""`rnnstudy compare` as a user runs it: options, bad input, a sweep that is still running."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from tools.synthetic_runs import Synthetic, edit_json, write_run
from tools.waiting import until

from rnnstudy.cli.main import main


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("x") / "a sweep"
    for model in ("rnn", "lstm"):
        for mitigation in ((), ("clip_norm",)):
            spec = Synthetic(model=model, mitigation=mitigation, replicas=2, probes=2, settings={"task": {"lag": 9}})
            write_run(root / "-".join([model, *mitigation]), spec)
    return root


def refusal(capsys, *arguments: str | Path) -> str:
    """The one line on standard error of a comparison that is refused."""
    assert main(["compare", *map(str, arguments)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("rnnstudy: ")
    return shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--where", "task.lga=9"], "--where: no run has a setting 'task.lga'. Did you mean 'task.lag'?"),
        (["--where", "lag=10"], "--where: no run has task.lag=10. There are: 9."),
        (["--where", "lag"], "--where takes KEY=VALUE"),
        (["--baseline", "model=gru"], "--baseline: no run has model=gru. There are: lstm, rnn."),
        (["--baseline", "lag=9"], "--baseline lag=9: runs are compared within one task"),
        (["--sort", "los"], "--sort: no run has a setting 'los'."),
        (["--group-by", "modle"], "--group-by: no run has a setting 'modle'. Did you mean 'model'?"),
    ],
)
def test_a_wrong_option_is_one_line(sweep: Path, capsys, arguments: list[str], message: str) -> None:
    assert message in refusal(capsys, sweep, *arguments)
    assert not (sweep / "report").exists()


def test_what_is_no_folder_of_runs_is_one_line(tmp_path: Path, capsys) -> None:
    (tmp_path / "a file").write_text("")
    (tmp_path / "an empty folder").mkdir()
    for name in ("a file", "an empty folder", "nowhere"):
        told = refusal(capsys, tmp_path / name)
        assert str(tmp_path / name) in told
        assert "rnnstudy train" in told


def test_a_report_that_cannot_be_written_is_one_line(sweep: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "in the way").write_text("")
    assert main(["compare", str(sweep / "rnn"), "--output", str(tmp_path / "in the way")]) == 1
    assert "in the way: File exists" in capsys.readouterr().err


@pytest.mark.slow
def test_all_options_together(sweep: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    options = [
        "--where",
        "model=lstm",
        "--baseline",
        "mitigation=[]",
        "--sort",
        "loss:desc",
        "--group-by",
        "mitigation",
    ]
    output = tmp_path / "a paper"
    assert (
        main(["compare", str(sweep), str(sweep / "rnn"), *options, "--output", str(output), "--markdown", "--paper"])
        == 0
    )
    shown = capsys.readouterr()
    assert "**mitigation=clip\\_norm**" in shown.out
    assert shown.out.rstrip("\n") == (output / "table.md").read_text().rstrip("\n")
    assert "Note: Runs with 2 replicas: below six pairs nothing is decided" in shown.err
    assert f"Report: {output / 'report.html'}" in shown.err
    assert (output / "loss.pdf").read_bytes().startswith(b"%PDF")
    with (output / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["mitigation"] for row in rows] == ["clip_norm", "none"]
    with (output / "comparisons.csv").open() as file:
        assert {row["baseline"] for row in csv.DictReader(file)} == {"lstm"}


@pytest.mark.parametrize("form", ["--markdown", "--latex"])
def test_a_paper_gets_the_tables_alone(sweep: Path, tmp_path: Path, capsys, form: str) -> None:
    assert main(["compare", str(sweep / "rnn"), str(sweep / "rnn-clip_norm"), "--output", str(tmp_path), form]) == 0
    shown = capsys.readouterr()
    names = ["table.md"] if form == "--markdown" else ["table.tex", "comparisons.tex"]
    assert shown.out.rstrip("\n") == "\n".join((tmp_path / name).read_text() for name in names).rstrip("\n")
    assert "Report: " in shown.err


def test_bad_folders_are_named_and_the_rest_is_compared(sweep: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    bad = {
        name: write_run(tmp_path / "more" / name, Synthetic(replicas=1, probes=2)) for name in ("newer", "torn", "b c")
    }
    edit_json(bad["newer"] / "run.json", format=2)
    (bad["torn"] / "result.json").write_text('{"format": 1, ')
    (bad["b c"] / "config.yaml").unlink()
    (tmp_path / "empty").mkdir()
    folders = [str(sweep), str(tmp_path / "more"), str(tmp_path / "empty"), str(tmp_path / "gone")]
    assert main(["compare", *folders, "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    for line in (
        "Not read: more/newer: run.json has format 2, this version reads up to 1: use a newer rnnstudy",
        "Not read: more/torn: result.json is no JSON",
        "Not read: more/b c: config.yaml is missing",
        f"Not compared: No run in {tmp_path / 'empty'}",
        f"Not compared: There is no folder {tmp_path / 'gone'}",
    ):
        assert f"Note: {line}" in shown
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Comparison of 4 runs" in page
    assert "more/torn: result.json is no JSON" in page


@pytest.mark.slow
def test_a_sweep_can_be_compared_while_it_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rnnstudy"]
    settings = ["model.hidden_size=8", "train.batch_size=8", "train.num_steps=100000", "train.eval_interval=10"]
    settings += ["train.log_interval=10", "replicas=2", "task.lag=40", "study=mine"]
    sweep = tmp_path / "outputs" / "mine"
    running = subprocess.Popen(
        [*command, "train", "-m", "model=rnn,gru", *settings],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        # The log of the first run has a few lines.
        until(lambda: any(log.read_bytes().count(b"\n") > 8 for log in sweep.glob("*/metrics.jsonl")), running)
        for _ in range(2):
            done = subprocess.run(
                [*command, "compare", str(sweep)], capture_output=True, text=True, cwd=tmp_path, env={"COLUMNS": "300"}
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "running" in done.stdout
            assert "of 100000" in done.stdout
            assert "The run has not ended yet." in done.stdout
        with (sweep / "report" / "table.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["status"] for row in rows] == ["unfinished"] * 2
        assert all(0 < int(row["last_step"]) < 100000 for row in rows)
    finally:
        running.kill()
        running.wait()
