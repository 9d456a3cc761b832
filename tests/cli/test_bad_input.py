"""Bad input stops before training: one line that names the path, the rule, the value and what is allowed."""

import subprocess
import sys

import pytest
import torch
from rich.console import Console

from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.study.sweep import train

SWEEP = ("-m", "model=rnn,gru")


def fail(tmp_path, monkeypatch, *arguments: str) -> str:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        train(arguments, Console(quiet=True))
    assert list(tmp_path.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["task.lga=5"], "task.lga is not a known key. Did you mean 'lag'? Allowed: lag, target."),
        (["trian.num_steps=5"], "trian.num_steps is not a known key. Did you mean 'train'?"),
        (["train.lr=5"], "train.lr is not a known key."),
        (["+train.lr=5"], "train.lr is not a known key."),
        (["+nonsense=5"], "nonsense is not a known key."),
        (["model=lstn"], "model has no member 'lstn'. Did you mean 'lstm'? Allowed: gru, lstm, rnn."),
        (["mitigation=[clip_nrom]"], "mitigation has no member 'clip_nrom'. Did you mean 'clip_norm'?"),
        (["mitigation.clip_norm.max_norm=1"], "mitigation.clip_norm.max_norm is not a known key."),
        (
            ["mitigation=[clip_norm]", "mitigation.clip_norm.max_norm=0"],
            "mitigation.clip_norm.max_norm must be above 0",
        ),
        (["experiment=nope"], "experiment has no member 'nope'. Allowed: coconut"),
        (["task.lag=3"], "task.lag must be at least 19, got 3."),
        (["task.lag=many"], "task.lag must be a valid integer, got 'many'."),
        (["task.target=words"], "task.target must be 'answer' or 'next_word', got 'words'."),
        (["train.num_steps=-1"], "train.num_steps must be at least 0, got -1."),
        (["train.batch_size=2.5"], "train.batch_size must be a valid integer, got 2.5."),
        (["optimizer.lr=-1"], "optimizer: Adam refuses its arguments: Invalid learning rate: -1."),
        (["optimizer._target_=os.system"], "optimizer._target_ may only name classes of rnnstudy"),
        (["device=gpu"], "device must be cpu, cuda, cuda:N or auto, got 'gpu'."),
        (["replicas=0"], "replicas must be at least 1, got 0."),
        (["seed=null"], "seed must be a valid integer, got None."),
        (["task.lag="], "task.lag must be a valid integer, got ''."),
        (["task.lag=[1"], "Cannot read 'task.lag=[1'"),
        (["model.hidden_size=${nope}"], "'nope'"),
        ([*SWEEP, "train.num_steps=-1"], "train.num_steps must be at least 0, got -1. (in the run model=rnn"),
        ([*SWEEP, "task.lga=1"], "task.lga is not a known key. Did you mean 'lag'?"),
        (["-m", "model=rnn,lstn"], "model has no member 'lstn'. Did you mean 'lstm'?"),
        (["model=rnn,lstm"], "model=rnn,lstm holds several values: add -m to run each of them"),
        (["hidden_size=4"], "hidden_size is not a known key. Did you mean model.hidden_size?"),
        (["study=../elsewhere"], "study must be a plain folder name, such as lags, got '../elsewhere'."),
        (["run_dir=''"], "run_dir must name a folder"),
        ([*SWEEP, "run_dir=one"], "run_dir=one is one folder, but the sweep has 2 runs"),
        (["-m", "train.num_steps=5,-5"], "train.num_steps must be at least 0, got -5. (in the run train.num_steps=-5)"),
    ],
)
def test_one_line_and_nothing_written(tmp_path, monkeypatch, arguments, message):
    told = fail(tmp_path, monkeypatch, *arguments)
    assert message in told
    assert "\n" not in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, so the error cannot arise")
def test_no_cuda(tmp_path, monkeypatch):
    assert "run with device=cpu" in fail(tmp_path, monkeypatch, "device=cuda")


def test_the_command_line_prints_it_without_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "rnnstudy", "train", "model=lstn"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr == "rnnstudy: model has no member 'lstn'. Did you mean 'lstm'? Allowed: gru, lstm, rnn.\n"
    assert done.stdout == ""


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").write_text("a file, not a folder")
    with pytest.raises(RnnstudyError, match="cannot be written to: Not a directory"):
        train(["train.num_steps=1"], Console(quiet=True))
