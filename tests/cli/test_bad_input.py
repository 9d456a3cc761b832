"""Bad input stops before training: one line that names the path, the rule, the value and what is allowed."""

import subprocess
import sys

import pytest
import torch
from rich.console import Console

from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.study.sweep import train

SWEEP = ("-m", "model=rnn,gru")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "task.path must name a text, but text.txt has no characters in it."),
        (
            b"caf\xe9",
            "task.path must name a text in UTF-8, but byte 3 of text.txt is not; convert it, for example with",
        ),
        (b"short", "task.path must name a longer text: text.txt has 5 characters, too few for a training and a"),
        (b"a text " * 100, "task.seq_len must be below 70, the number of characters in the shorter part of text.txt"),
    ],
)
def test_a_text_that_will_not_do(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        train(["task=text", "task.path=text.txt"], Console(quiet=True))
    assert str(caught.value).startswith(message)
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


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
        (["task=adding", "task.seq_len=1"], "task.seq_len must be at least 2 with variant=half, got 1."),
        (
            ["task=adding", "task.variant=pascanu", "task.seq_len=9"],
            "task.seq_len must be at least 10 with variant=pascanu",
        ),
        (["task=adding", "task.variant=both"], "task.variant must be 'half', 'hochreiter' or 'pascanu', got 'both'."),
        (["task=adding", "task.seq_len=[50]"], "task.seq_len must be a number, or two, the least and then the most"),
        (
            ["task=adding", "task.seq_len=[50,200,x]"],
            "task.seq_len must be a number, or two, the least and then the most",
        ),
        (["task=adding", "task.seq_len=[]"], "task.seq_len must be a number, or two, the least and then the most"),
        (["task=adding", "task.seq_len=[50,20]"], "task.seq_len must be a number, or two, the least and then the most"),
        (["task=adding", "task.seq_len=[1,20]"], "task.seq_len must be at least 2 with variant=half, got 1."),
        (["task.lag=[3,20]"], "task.lag must be at least 19, got 3."),
        (
            ["task=adding", "eval.seq_lens=[1,20]"],
            "eval.seq_lens holds 1 (time steps; in training 100), but seq_len must be at least 2",
        ),
        (
            ["task=copy_memory", "eval.seq_lens=[20]"],
            "eval.seq_lens holds 20 (time steps; in training 120), but delay must be",
        ),
        (["eval.seq_lens=100"], "eval.seq_lens must be a valid list, got 100."),
        (
            ["task=sequential_digits", "eval.seq_lens=[9]"],
            "eval.seq_lens holds 9 (time steps; in training 64), but this task has",
        ),
        (["task=sequential_digits", "+task.seq_len=64"], "task.seq_len is not a known key."),
        (["task=copy_memory", "task.delay=0"], "task.delay must be at least 1, got 0."),
        (["task=copy_memory", "task.alphabet_size=1"], "task.alphabet_size must be at least 2, got 1."),
        (["task=delayed_recall", "task.num_symbols=27"], "task.num_symbols must be between 2 and 26, got 27."),
        (["task=latch", "task.seq_len=3"], "task.seq_len must be above class_steps, 3, got 3."),
        (["task=latch", "task.noise_variance=0"], "task.noise_variance must be above 0, got 0"),
        (["task=temporal_order", "task.num_symbols=4"], "task.num_symbols must be 2 or 3, got 4."),
        (["task=temporal_order", "task.seq_len=9"], "task.seq_len must be at least 10, got 9."),
        (["task=random_permutation", "task.num_symbols=2"], "task.num_symbols must be at least 3, got 2."),
        (["task=reber", "task.seq_len=6"], "task.seq_len must be at least 7, got 6."),
        (["task=associative_recall", "task.seq_len=15"], "task.seq_len must be at least 4 * num_pairs, 16, to hold"),
        (["task=associative_recall", "task.vocab_size=9"], "task.vocab_size must be at least 10, got 9."),
        (["task=text"], "task.path has no default and must be given; conf/task/text.yaml says what it is."),
        (
            ["task=text", "task.path=/nowhere"],
            "task.path must name a text file that can be read, but /nowhere: No such",
        ),
        (["task=text", "task.path=/"], "task.path must name a text file that can be read, but /: Is a directory."),
        (["task=text", "task.path=/dev/zero"], "task.path must name a text file, but /dev/zero is a device or a pipe."),
        (["task=text", "task.path=/dev/null", "+task.part=validation"], "task.part is not a known key."),
        (["task=sequential_digits", "+task.part=test"], "task.part is not a known key."),
        (["task=associative_recall", "task.power=1e300"], "task.power must be between 0 and 10, got 1e+300."),
        (["task=latch", "task.noise_variance=inf"], "task.noise_variance must be between 0 and 1000000.0, got inf."),
        (["task=parity", "task.seq_len=1000000000"], "task.seq_len must be at most 1000000, got 1000000000."),
        (["task=parity", f"task.seq_len={10**26}"], "task.seq_len must be at most 1000000, got 1"),
        (["task=random_permutation", "task.num_symbols=2000000"], "task.num_symbols must be at most 1000000"),
        (["task=null"], "task=null must name a member of its group, such as task=adding."),
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
