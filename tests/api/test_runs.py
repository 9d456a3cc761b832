"""Training, reading and comparing from Python: what the command line does, with objects."""

import dataclasses
import html
import json
import sys
from pathlib import Path

import pandas
import pytest
import torch
from tools.training import content

import rnnstudy as rs
from rnnstudy.api.read_runs import RunView
from rnnstudy.cli.main import main

TINY = {
    "task": rs.tasks.Adding(seq_len=5),
    "replicas": 2,
    "train": {"num_steps": 6, "checkpoint_interval": 3, "kept_checkpoints": None, "eval_interval": 3, "batch_size": 4},
    "quiet": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def runs(folder):
    return rs.train("mitigation=[],[clip_norm]", model=rs.models.LSTM(hidden_size=4), output_dir=folder, **TINY)


def test_several_values_make_a_sweep_whose_runs_come_back_in_order(runs, folder):
    assert [run.settings["mitigation"] for run in runs] == [[], ["clip_norm"]]
    assert [run.path.parent for run in runs] == [folder, folder]
    assert runs[0].settings["task.seq_len"] == 5
    assert runs[1].outcome.status == ("finished", "finished")
    assert [len(runs), len(runs[:1])] == [2, 1]


def test_objects_and_the_command_line_ask_for_the_same_run(runs, folder, capsys):
    mitigation = [rs.mitigations.ClipNorm(max_norm=1)]
    run = rs.train(
        mitigation=mitigation, model=rs.models.LSTM(hidden_size=4), output_dir=folder, **TINY | {"quiet": False}
    )
    assert run.path == runs[1].path
    assert "finished already, nothing to do" in capsys.readouterr().out
    train = [f"train.{key}={'null' if value is None else value}" for key, value in TINY["train"].items()]
    line = ["task=adding", "task.seq_len=5", "model.hidden_size=4", "mitigation=[clip_norm]", "replicas=2", *train]
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    assert main(["train", *line, f"output_dir={folder}"]) == 0
    assert "finished already, nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
    assert len(rs.read_runs(folder)) == 2


def test_what_is_wrong_is_said_before_anything_starts(tmp_path):
    with pytest.raises(rs.ConfigError, match="Did you mean 'lstm'"):
        rs.train("model=gru,lstn", output_dir=tmp_path, quiet=True)
    with pytest.raises(rs.ConfigError, match=r"replicas must be at least 1, got 0"):
        rs.train(replicas=0, output_dir=tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())


def test_the_frames_hold_what_the_logs_hold(runs):
    run = runs[0]
    lines = pandas.read_json(run.path / "metrics.jsonl", lines=True).groupby(["step", "replica"], as_index=False).last()
    frame = run.metrics()
    pandas.testing.assert_frame_equal(frame[lines.columns], lines, check_dtype=False)
    curves = run.curves()
    lines = [json.loads(line) for line in (run.path / "curves.jsonl").read_text().splitlines()]
    assert len(curves) == sum(len(line["values"]) for line in lines)
    for line in lines:
        same = (
            (curves["tag"] == line["tag"]) & (curves["step"] == line["step"]) & (curves["replica"] == line["replica"])
        )
        assert curves[same]["value"].tolist() == line["values"]
        assert curves[same]["time_step"].tolist() == list(range(len(line["values"])))


def test_networks_are_those_of_the_checkpoints(runs):
    last = runs[0].network().state_dict()
    assert all(torch.equal(weight, last[name]) for name, weight in content(runs[0].run.folder)["network"].items())
    assert not torch.equal(runs[0].network(step=3).readout_weight, last["readout_weight"])
    assert runs[0].task() == TINY["task"]


def test_gradients_of_a_saved_network_are_those_that_the_run_logged(tmp_path):
    """With lengths that vary, a run measures on its probe."""
    settings = TINY | {"task.seq_len": [4, 5], "seed": 3, "output_dir": tmp_path}
    run = rs.train(instrument=[rs.instruments.HiddenGradNorm(schedule=rs.Every(interval=6))], **settings)
    gradients = rs.hidden_gradients(run.network(), run.task(), batch_size=4, seed=3)
    curves = run.curves()
    logged = curves[(curves["step"] == 6) & (curves["tag"] == "hidden_grad_norm/h/layer_0/total")]
    expected = gradients.norms().mean(-1)
    assert logged.pivot(index="time_step", columns="replica", values="value").to_numpy() == pytest.approx(
        expected.numpy(), rel=1e-4
    )


def test_damaged_folders_are_left_out_and_named(runs, folder, tmp_path):
    for run in runs:
        (tmp_path / run.path.name).symlink_to(run.path)
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt" / "config.yaml").write_text("a: 1")
    found = rs.read_runs(folder, tmp_path / "spoilt", tmp_path / "nothing")
    assert [run.path for run in found] == [run.path for run in rs.read_runs(folder)]
    assert [line.partition(" ")[0] for line in found.unreadable] == ["There", "spoilt:"]
    with pytest.raises(rs.RnnstudyError, match="There is no folder"):
        rs.read_runs(tmp_path / "nothing")


def test_a_notebook_shows_what_differs_and_the_outcome(runs):
    shown = runs._repr_html_()
    assert "<td>lstm + clip_norm</td><td>clip_norm</td><td>2</td><td>2 finished</td><td>6</td>" in shown
    assert "<td>lstm</td>" in runs[0]._repr_html_()
    choices = {"model": "<script>", "mitigation": []}
    stranger = RunView(dataclasses.replace(runs[0].run, config=runs[0].run.config | {"choices": choices}))
    assert "<td>&lt;script&gt;</td>" in stranger._repr_html_()
    assert repr(runs) == f"Runs({[str(run.path) for run in runs]})"


def test_a_comparison_is_that_of_the_report(runs, tmp_path):
    compared = rs.compare(*runs, baseline="mitigation=[]", sort=["loss"])
    page = compared.write(tmp_path / "report")
    assert page == tmp_path / "report" / "report.html"
    for frame, name in ((compared.table, "runs.csv"), (compared.comparisons, "comparisons.csv")):
        stored = pandas.read_csv(page.parent / name)
        pandas.testing.assert_frame_equal(frame.convert_dtypes(), stored.convert_dtypes(), check_dtype=False)
    shown = compared._repr_html_()
    for sentence in compared.verdicts:
        assert html.escape(sentence) in shown
        assert html.escape(sentence.partition("10^")[0]) in page.read_text()
    with pytest.raises(rs.ConfigError, match="no run has a setting 'lag'"):
        rs.compare(*runs, where="lag=3")


def test_without_pandas_the_extra_is_named(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(rs.RnnstudyError, match=r"pip install 'rnnstudy\[notebook\]'"):
        runs[0].metrics()
