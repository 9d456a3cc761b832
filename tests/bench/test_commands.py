"""The commands measure for real, at the smallest sizes, and write what they print."""

import argparse
import inspect
import json
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from rich.console import Console
from tools.members import members

from rnnstudy.bench import baselines, sweep
from rnnstudy.bench.baselines import Size
from rnnstudy.bench.memory import Measurement
from rnnstudy.cli import bench
from rnnstudy.cli.main import main


def measured(tmp_path: Path, command: str) -> Any:
    """Run a benchmark and read what it writes into its file."""
    place = tmp_path / "figures.json"
    assert main(["bench", *command.split(), "--json", str(place)]) == 0
    return json.loads(place.read_text())


@pytest.fixture
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is done once a turn, however short it is."""
    monkeypatch.setattr("rnnstudy.bench.timing.TURN", 1e-6)


@pytest.mark.slow
def test_engine_writes_a_row_per_cell_size_and_number_of_replicas(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = measured(tmp_path, "engine --cells rnn,lstm --sizes S1 --replicas 2,1 --seconds 0.01")
    assert [(row["cell"], row["size"], row["replicas"]) for row in rows] == [
        ("rnn", "S1", 2),
        ("rnn", "S1", 1),
        ("lstm", "S1", 2),
        ("lstm", "S1", 1),
    ]
    for row in rows:
        assert {"ours_ms", "torch_nn_ms", "unrolled_ms", "floor_ms", "bare_ms"} <= row.keys()
        for way in ("ours", "torch_nn", "unrolled", "floor", "bare"):
            low, high = row[f"{way}_quartiles_ms"]
            assert 0 < low <= row[f"{way}_ms"] <= high
    printed = capsys.readouterr().out
    assert "rnn S1, 2 replicas: ours" in printed
    ratio = rows[0]["ours_ms"] / rows[0]["torch_nn_ms"]
    assert f"{ratio:.2f}" in printed


@pytest.mark.slow
def test_settings_as_shipped_get_a_line_of_their_own(tmp_path: Path):
    rows = measured(tmp_path, "engine --cells rnn --sizes S3 --replicas 1 --seconds 0.01")
    assert [row["size"] for row in rows] == ["S3", "S3 as shipped"]


@pytest.mark.slow
def test_memory_is_that_of_the_states_and_grows_with_the_sequence():
    """Measured in new processes: what is kept of 2000 steps of 64 sequences is at least the inputs and states."""

    def cost(seq_len: int) -> float:
        size = Size(batch_size=64, seq_len=seq_len, input_size=8, hidden_size=64)
        return Measurement(way="ours", cell="rnn", replicas=1, size=size).taken().peak_mb

    short, long = cost(1000), cost(2000)
    kept = 1000 * 64 * (8 + 1 + 64 + 64) * 4 / 2**20
    assert long - short == pytest.approx(kept, rel=0.5)


@pytest.mark.slow
def test_train_accounts_for_the_whole_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (row,) = measured(tmp_path, "train --models rnn --steps 5")
    parts = ("engine", "data", "mitigations", "optimizer", "instruments", "writers", "evaluation", "checkpoints")
    assert row["all_ms"] == pytest.approx(sum(row[f"{part}_ms"] for part in (*parts, "other")), rel=1e-6)
    assert row["engine_ms"] > 0
    assert 0 <= row["other_ms"] < row["all_ms"]
    assert row["step_over_engine"] > 1
    assert 0 < row["observing_share"] < 1
    assert "rnn" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("short_turns")
def test_models_measures_every_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = {row["model"]: row for row in measured(tmp_path, "models --seconds 0.01")}
    assert set(members("model")) <= rows.keys()
    assert {"rnn layer_norm=true", "gru layer_norm=true", "lstm layer_norm=true"} <= rows.keys()
    assert rows["rnn"]["parameters"] == 64 * (8 + 64 + 2)
    assert rows["lstm layer_norm=true"]["parameters"] == 4 * 64 * (8 + 64 + 2 + 1)
    printed = capsys.readouterr().out
    for name, row in rows.items():
        assert name in printed
        assert row["step_ms"] > 0
        assert f"{row['ratio']:.2f}" in printed


@pytest.mark.slow
@pytest.mark.usefixtures("short_turns")
def test_tasks_measures_every_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = measured(tmp_path, "tasks --seconds 0.01")
    assert [row["task"] for row in rows] == members("task")
    for row in rows:
        assert row["seq_len"] == (64 if row["task"] == "sequential_digits" else 100)
        assert row["data_ms"] > 0
        assert row["step_ms"] > 0
        assert row["share"] > 0
    assert "copy_memory" in capsys.readouterr().out


@pytest.mark.slow
def test_sweep_measures_answers_overhead_and_cores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for name, fewer in {"REPEATS": 1, "FEW": 1, "EQUAL": 1}.items():
        monkeypatch.setattr(sweep, name, fewer)
    figures = measured(tmp_path, "sweep --steps 1 --runs 5")
    assert all(seconds > 0 for seconds in figures["answers_s"].values())
    assert figures["overhead_s"].keys() == {"basic", "joblib"}
    assert figures["ratio"] == pytest.approx(figures["parallel_s"] / figures["serial_s"])
    assert "joblib takes" in capsys.readouterr().out


@pytest.mark.slow
def test_statistics_writes_every_rate_with_its_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = measured(tmp_path, "statistics --sweeps 4 --replicas 8,6 --configurations 3,2")
    assert {row["table"] for row in rows} == {"false verdicts", "power", "coverage", "tests of fractions"}
    assert [row["replicas"] for row in rows] == [8, 6] * (len(rows) // 2)
    for row in rows:
        rates = {name: share for name, share in row.items() if f"{name}_error" in row and share is not None}
        assert rates
        assert all(
            row[f"{name}_error"] == pytest.approx((share * (1 - share) / 4) ** 0.5) for name, share in rates.items()
        )
    printed = capsys.readouterr().out
    assert "lognormal, 3 runs" in printed
    assert "censored, 2 runs" in printed


@pytest.mark.parametrize("name", ["engine", "instruments", "memory", "models", "statistics", "sweep", "tasks", "train"])
def test_a_benchmark_takes_the_options_of_its_command(name: str):
    parser = argparse.ArgumentParser()
    bench.add_bench(parser.add_subparsers())
    options = vars(parser.parse_args(["bench", name])).keys() & {*bench.SETTINGS}
    taken = inspect.signature(resolve_name(f"rnnstudy.bench.{name}:measure_{name}")).parameters
    assert taken.keys() == options - {"json"} | {"console", "path"}


def test_the_command_line_knows_the_cells_and_sizes_that_there_are():
    assert tuple(baselines.CELLS) == bench.CELLS
    assert tuple(baselines.SIZES) == bench.SIZES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("engine --cells rnm", "--cells does not know 'rnm'. Did you mean 'rnn'?"),
        ("sweep --runs 4", "--runs must be at least 5, got 4."),
        ("engine --sizes S4", "--sizes does not know 'S4'."),
        ("engine --replicas 0", "--replicas must be at least 1, got 0."),
        ("engine --replicas 8,x", "--replicas takes whole numbers such as 8,2, got 'x'."),
        ("statistics --configurations 10,1", "--configurations must be at least 2, got 1."),
        ("statistics --sweeps 0", "--sweeps must be at least 1, got 0."),
        ("statistics --seed -1", "--seed must be at least 0, got -1."),
        ("engine --seconds 0", "--seconds must be above 0, got 0.0."),
        ("engine --seconds nan", "--seconds must be above 0, got nan."),
        ("engine --device tpu", "device must be cpu, cuda, cuda:N or auto, got 'tpu'."),
        ("engine --json /nowhere/e.json", "--json must name a file in a folder that exists; there is no /nowhere."),
        ("memory --cells lstn", "--cells does not know 'lstn'. Did you mean 'lstm'?"),
        ("train --models gru,", "--models does not know ''."),
        ("tasks --seconds 0", "--seconds must be above 0, got 0.0."),
        ("models --seconds 0", "--seconds must be above 0, got 0.0."),
        ("tasks --json /nowhere/e.json", "--json must name a file in a folder that exists; there is no /nowhere."),
        ("train --steps 0", "--steps must be at least 1, got 0."),
    ],
)
def test_bad_options_are_told_before_anything_is_measured(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Console, "width", 200)
    assert main(["bench", *arguments.split()]) == 1
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.startswith(f"rnnstudy: {message}")
    assert seen.err.count("\n") == 1
