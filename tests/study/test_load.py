"""The network of a run, read back from its folder."""

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tools.members import run_small

from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.study.run.load import load_run
from rnnstudy.training.checkpoint import Checkpoints


def content(folder: Path, step: int) -> dict:
    found = Checkpoints(folder / "checkpoints").load_step(step)
    assert found is not None
    return found


def assert_has_weights(folder: Path, step: int, network: torch.nn.Module) -> None:
    stored = content(folder, step)["network"]
    own = network.state_dict()
    assert own.keys() == stored.keys()
    assert all(torch.equal(own[name], stored[name]) for name in own)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return run_small(tmp_path_factory.mktemp("runs") / "lstm", "train.kept_checkpoints=null").path


def test_the_last_checkpoint_unless_another_is_asked_for(folder):
    loaded = load_run(folder)
    assert (loaded.step, loaded.model, loaded.network.replicas) == (12, "lstm", 3)
    assert_has_weights(folder, 12, loaded.network)


def test_every_saved_step_can_be_read(folder):
    assert Checkpoints(folder / "checkpoints").steps() == [5, 10, 12]
    weights = []
    for step in (5, 10, 12):
        loaded = load_run(folder, step)
        assert loaded.step == step
        assert_has_weights(folder, step, loaded.network)
        weights.append(loaded.network.readout_weight)
    assert not torch.equal(weights[0], weights[1])


def test_two_are_kept_unless_it_says_otherwise(tmp_path):
    run = run_small(tmp_path / "run")
    assert Checkpoints(run.checkpoints).steps() == [10, 12]


@pytest.mark.slow
def test_parametrised_weights_are_those_of_training(tmp_path):
    run = run_small(tmp_path / "run", "model=orthogonal_rnn")
    assert_has_weights(run.path, 12, load_run(run.path).network)


def changed(folder: Path, tmp_path: Path) -> Path:
    """A copy that can be spoilt."""
    other = tmp_path / "copy"
    other.mkdir()
    (other / "checkpoints").mkdir()
    for path in [folder / "config.yaml", *(folder / "checkpoints").iterdir()]:
        (other / path.relative_to(folder)).write_bytes(path.read_bytes())
    return other


def refused(path: Path, step: int | None = None) -> str:
    with pytest.raises(RnnstudyError) as caught:
        load_run(path, step)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_step_that_was_not_saved(folder):
    assert refused(folder, 7) == (
        f"{folder} has no checkpoint of step 7; it has 5, 10, 12. train.kept_checkpoints=null keeps all."
    )


def test_no_run(tmp_path):
    assert (
        refused(tmp_path) == f"'{tmp_path}' is no run folder: it has no config.yaml. Runs are made by: rnnstudy train"
    )


def test_no_checkpoint_yet(folder, tmp_path):
    other = changed(folder, tmp_path)
    for path in (other / "checkpoints").iterdir():
        path.unlink()
    assert refused(other).startswith(f"{other} has no checkpoint yet;")


def test_a_damaged_checkpoint(folder, tmp_path):
    other = changed(folder, tmp_path)
    path = other / "checkpoints" / "step_000000010.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))
    assert refused(other, 10) == f"{other}: the checkpoint of step 10 is damaged; others are 5, 12."
    assert load_run(other, 5).step == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.hidden_size": 7}, r"embedding has the shape \(3, \d+, 6\) there, \(3, \d+, 7\) is wanted"),
        ({"model.num_layers": 2}, r"layers.1.weight_ih has the shape none there, \(3, 24, 6\) is wanted"),
        ({"replicas": 2}, r"has the shape \(3, .*\) there, \(2, .*\) is wanted"),
    ],
)
def test_a_checkpoint_of_another_model(folder, tmp_path, change, message):
    other = changed(folder, tmp_path)
    config = yaml.safe_load((other / "config.yaml").read_text())
    for key, value in change.items():
        place = config
        *groups, name = key.split(".")
        for group in groups:
            place = place[group]
        place[name] = value
    (other / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    said = refused(other)
    assert said.startswith(f"{other}/checkpoints, step 12 holds weights of another model than config.yaml describes: ")
    assert re.search(message, said), said


def resaved(folder: Path, tmp_path: Path, content: Any) -> Path:
    """A copy whose last checkpoint is whole, and holds something else."""
    other = changed(folder, tmp_path)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path = other / "checkpoints" / "step_000000012.pt"
    path.write_bytes(buffer.getvalue())
    path.with_suffix(".pt.sha256").write_text(hashlib.sha256(buffer.getvalue()).hexdigest())
    return other


@pytest.mark.parametrize("content", [{"step": 12}, {"network": {"readout_weight": "none"}}, {"network": [1]}])
def test_a_checkpoint_of_something_else(folder, tmp_path, content):
    other = resaved(folder, tmp_path, content)
    assert refused(other) == f"{other}/checkpoints, step 12: this is no checkpoint of a run."


def test_a_checkpoint_without_names_is_damaged(folder, tmp_path):
    other = resaved(folder, tmp_path, [1, 2])
    assert refused(other, 12).startswith(f"{other}: the checkpoint of step 12 is damaged; others are ")


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.float64])
def test_weights_of_another_kind_are_not_taken_for_numbers(folder, tmp_path, dtype):
    spoilt = content(folder, 12)
    spoilt["network"]["readout_bias"] = spoilt["network"]["readout_bias"].to(dtype)
    other = resaved(folder, tmp_path, spoilt)
    assert refused(other) == f"{other}/checkpoints, step 12: readout_bias must hold torch.float32, got {dtype}."


def test_a_configuration_that_asks_for_what_there_is_not(folder, tmp_path):
    other = changed(folder, tmp_path)
    (other / "config.yaml").write_text((other / "config.yaml").read_text().replace("lstm.LSTM", "lstm.LTSM"))
    with pytest.raises(ConfigError, match="which does not exist"):
        load_run(other)
    (other / "config.yaml").write_text(json.dumps([1, 2]))
    assert refused(other) == f"{other}/config.yaml is not the configuration of a run."
    (other / "config.yaml").write_text("a: [")
    assert refused(other) == f"{other}/config.yaml cannot be read (no YAML: ParserError)."


def test_a_run_from_a_machine_with_a_gpu_is_read_here(folder, tmp_path):
    other = changed(folder, tmp_path)
    (other / "config.yaml").write_text((other / "config.yaml").read_text().replace("device: cpu", "device: cuda:3"))
    assert load_run(other).network.readout_bias.device == torch.device("cpu")
