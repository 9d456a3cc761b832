"""Bad input stops before training: one line that names the path, the rule, the value and what is allowed."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from rich.console import Console
from tools.members import members, plan

from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.study.sweep.train import train

MODELS = ", ".join(members("model"))
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
        (["model=lstn"], f"model has no member 'lstn'. Did you mean 'lstm'? Allowed: {MODELS}."),
        (["mitigation=[clip_nrom]"], "mitigation has no member 'clip_nrom'. Did you mean 'clip_norm'?"),
        (
            ["mitigation.clip_norm.max_norm=1"],
            "max_norm is a key of clip_norm, which is not chosen: add it, as in mitigation=[clip_norm].",
        ),
        (
            ["model.init.chrono.t_max=5"],
            "model.init.chrono.t_max is a key of chrono, which is not chosen: add it, as in init=[chrono].",
        ),
        (["~model"], "model is missing."),
        (
            ["mitigation=[clip_norm]", "mitigation.clip_norm.max_norm=0"],
            "mitigation.clip_norm.max_norm must be above 0",
        ),
        (["experiment=nope"], "experiment has no member 'nope'. Allowed: clip_threshold, "),
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
        (["study=über uns"], """quoted twice, for the shell and for Hydra: 'study="über uns"'."""),
        (["hydra/launcher=jobli", "-m"], "There is no hydra/launcher=jobli here. Did you mean joblib?"),
        (["model.hidden_size=${nope}"], "'nope'"),
        ([*SWEEP, "train.num_steps=-1"], "train.num_steps must be at least 0, got -1. (in the run model=rnn"),
        ([*SWEEP, "task.lga=1"], "task.lga is not a known key. Did you mean 'lag'?"),
        (["-m", "model=rnn,lstn"], "model has no member 'lstn'. Did you mean 'lstm'?"),
        (["model=rnn,lstm"], "model=rnn,lstm holds several values: add -m to run each of them"),
        (["hidden_size=4"], "hidden_size is not a known key. Did you mean model.hidden_size?"),
        (["task=sequential_digits", "+task.seq_len=64"], "task.seq_len is not a known key."),
        (["task=text"], "task.path has no default and must be given; conf/task/text.yaml says what it is."),
        (
            ["task=text", "task.path=/nowhere"],
            "task.path must name a text file that can be read, but /nowhere: No such",
        ),
        (["task=text", "task.path=/"], "task.path must name a text file that can be read, but /: Is a directory."),
        (["task=text", "task.path=/dev/zero"], "task.path must name a text file, but /dev/zero is a device or a pipe."),
        (["task=text", "task.path=/dev/null", "+task.part=validation"], "task.part is not a known key."),
        (["task=sequential_digits", "+task.part=test"], "task.part is not a known key."),
        (["task=null"], "task=null must name a member of its group, such as task=adding."),
        (["study=../elsewhere"], "study must be a plain folder name, such as lags, got '../elsewhere'."),
        (["run_dir=''"], "run_dir must name a folder"),
        ([*SWEEP, "run_dir=one"], "run_dir=one is one folder, but the sweep has 2 runs"),
        (["-m", "model=lstm,gru", "mitigation=[h_detach]"], "mitigation.h_detach cannot be applied to this model"),
        (["model.init=5"], "model.init must be"),
        (["init=[chrno]"], "init has no member 'chrno'. Did you mean 'chrono'?"),
        (["+model.init.nonsense=5"], "model.init.nonsense must be a mapping of keys to values, got 5."),
        (
            ["init=[chrono]", "model.init.chrono.tmax=5"],
            "model.init.chrono.tmax is not a known key. Did you mean 't_max'?",
        ),
        (["schedule=cosin"], "schedule has no member 'cosin'. Did you mean 'cosine'?"),
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
    assert done.stderr == f"rnnstudy: model has no member 'lstn'. Did you mean 'lstm'? Allowed: {MODELS}.\n"
    assert done.stdout == ""


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").write_text("a file, not a folder")
    with pytest.raises(RnnstudyError, match="cannot be written to: Not a directory"):
        train(["train.num_steps=1"], Console(quiet=True))


def member(group: str, place: str, name: str, key: str, value: str, rule: str, *more: str) -> tuple[list[str], str]:
    setting, got = f"{place}.{name}.{key}", f"'{value}'" if rule.startswith("'") else value
    return [*more, f"{group}=[{name}]", f"{setting}={value}"], f"{setting} must be {rule}, got {got}"


mitigation, init = partial(member, "mitigation", "mitigation"), partial(member, "init", "model.init")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        mitigation("clip_value", "max_value", "-1.0", "above 0"),
        mitigation("clip_value", "max_value", "nan", "above 0"),
        mitigation("clip_adaptive", "ratio", "0.0", "above 0"),
        mitigation("clip_adjoint", "limit", "0.0", "above 0"),
        mitigation("clip_adjoint", "by", "entry", "'norm' or 'value'"),
        mitigation("skip_nonfinite", "above", "0.0", "above 0"),
        mitigation("skip_nonfinite", "policy", "clip", "'skip' or 'zero'"),
        mitigation("spectral_limit", "limit", "-0.5", "above 0"),
        mitigation("h_detach", "probability", "1.5", "between 0 and 1"),
        mitigation("h_detach", "off_phase", "-0.1", "between 0 and 1"),
        mitigation("truncated_bptt", "steps", "-1", "at least 0"),
        mitigation("truncated_bptt", "steps", "2.5", "a valid integer"),
        mitigation("grad_noise", "eta", "-1.0", "at least 0"),
        mitigation("grad_noise", "gamma", "-1.0", "between 0 and 100"),
        mitigation("weight_decay", "strength", "-1.0", "at least 0"),
        mitigation("weight_decay", "of", "readout", "'recurrent' or 'all'"),
        mitigation("weight_decay", "penalty", "l3", "'l2' or 'l1'"),
        mitigation("omega", "weight", "-1.0", "at least 0", "model=rnn"),
        mitigation("omega", "equation", "cubed", "'squared' or 'norm'", "model=rnn"),
        (
            ["model=gru", "mitigation=[h_detach]"],
            "mitigation.h_detach cannot be applied to this model: it needs a cell state beside the hidden state; it "
            "applies to lstm.",
        ),
        (["mitigation=[omega]"], "mitigation.omega cannot be applied to this model: it needs the Jacobian"),
        (
            ["model=rnn", "model.layer_norm=true", "mitigation=[omega]"],
            "mitigation.omega cannot be applied to this model: it needs the Jacobian",
        ),
        (
            ["model=lru", "mitigation=[spectral_limit]"],
            "mitigation.spectral_limit cannot be applied to this model: it needs recurrent matrices",
        ),
        (
            ["model=lru", "mitigation=[weight_decay]"],
            "it needs recurrent weights whose size can change, or of=all; it applies to all models but lru and "
            "orthogonal_rnn.",
        ),
        init("chrono", "t_max", "1", "at least 2"),
        init("chrono", "t_max", "2.5", "a valid integer"),
        (
            ["model=rnn", "init=[chrono]"],
            "model.init.chrono cannot be applied to this model: it needs gates, whose biases set time constants; it "
            "applies to gru and lstm.",
        ),
        (
            ["model=orthogonal_rnn", "init=[orthogonal]"],
            "model.init.orthogonal cannot be applied to this model: it sets weight_hh, which this model sets by its",
        ),
        (
            ["model=rnn", "model.nonlinearity=relu", "init=[pascanu]"],
            "model.init.pascanu cannot be applied to this model: it needs the vanilla recurrence with the activation",
        ),
        init("pascanu", "variant", "tanh", "'sigmoid', 'basic_tanh' or 'smart_tanh'", "model=rnn"),
        init("identity", "scale", "0", "above 0", "model=rnn"),
        init("identity", "input_std", "-1", "at least 0", "model=rnn"),
        init("orthogonal", "gain", "0", "above 0"),
        init("xavier", "gain", "-1", "above 0"),
        init("spectral_radius", "radius", "0", "above 0"),
        (["schedule.warmup_steps=-1"], "schedule.warmup_steps must be at least 0, got -1."),
        (["schedule.warmup_steps=1.5"], "schedule.warmup_steps must be a valid integer, got 1.5."),
        (["schedule=linear", "schedule.final=2"], "schedule.final must be between 0 and 1, got 2"),
        (["schedule=cosine", "schedule.final=-1"], "schedule.final must be between 0 and 1, got -1"),
        (["schedule=exponential", "schedule.rate=0"], "schedule.rate must be above 0, got 0"),
        (["schedule=exponential", "schedule.rate=1.5"], "schedule.rate must be between 0 and 1, got 1.5"),
        (["schedule=exponential", "schedule.interval=0"], "schedule.interval must be at least 1, got 0."),
        init("forget_bias", "value", "nan", "a finite number, at most 1e+30 in size"),
        init("xavier", "gain", "inf", "a finite number, at most 1e+30 in size"),
        mitigation("grad_noise", "eta", "inf", "a finite number, at most 1e+30 in size"),
        (["mitigation=[weight_decay]", "mitigation.weight_decay.strength=inf"], "must be a finite number"),
        (["model=antisymmetric_rnn", "model.step_size=inf"], "model.step_size must be a finite number"),
        (["model=lru", "model.hidden_size=7"], "model.hidden_size must be even for lru"),
        (["model=lru", "model.r_max=1.5"], "model.r_max must be at most 1"),
        (["model=lru", "model.r_min=-0.1"], "model.r_min must be at least 0, got -0.1."),
        (["model=lru", "model.r_min=0.9", "model.r_max=0.9"], "model.r_max must be above 0.9, got 0.9."),
        (["model=lru", "model.max_phase=0"], "model.max_phase must be above 0, got 0"),
        (["model=lru", "model.max_phase=7"], "model.max_phase must be at most 2 pi"),
        (["model=indrnn", "model.time_steps=0"], "model.time_steps must be at least 1, got 0."),
        (["model=indrnn", "model.nonlinearity=sigmoid"], "model.nonlinearity must be 'relu' or 'tanh', got 'sigmoid'."),
        (["model=skip_rnn", "model.skip=1"], "model.skip must be between 2 and 1000, got 1."),
        (["model=skip_rnn", "model.skip=1000000000"], "model.skip must be between 2 and 1000, got 1000000000."),
        (["model=residual_rnn", "model.rate=1.5"], "model.rate must be at most 1 where variant is leaky, got 1.5."),
        (["model=residual_rnn", "model.rate=0"], "model.rate must be above 0, got 0"),
        (["model=antisymmetric_rnn", "model.step_size=0"], "model.step_size must be above 0, got 0"),
        (["model=antisymmetric_rnn", "model.diffusion=-1"], "model.diffusion must be at least 0, got -1"),
        (
            ["model=orthogonal_rnn", "model.orthogonal_map=exp"],
            "model.orthogonal_map must be 'cayley' or 'matrix_exp', got 'exp'.",
        ),
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
        (["task=associative_recall", "task.power=1e300"], "task.power must be between 0 and 10, got 1e+300."),
        (["task=latch", "task.noise_variance=inf"], "task.noise_variance must be between 0 and 1000000.0, got inf."),
        (["task=parity", "task.seq_len=1000000000"], "task.seq_len must be at most 1000000, got 1000000000."),
        (["task=parity", f"task.seq_len={10**26}"], "task.seq_len must be at most 1000000, got 1"),
        (["task=random_permutation", "task.num_symbols=2000000"], "task.num_symbols must be at most 1000000"),
        (["model=lstm", "model.layer_norm=yes"], "model.layer_norm must be a valid boolean, got 'yes'."),
    ],
)
def test_values_that_tasks_models_and_what_is_done_to_them_refuse(arguments, message):
    with pytest.raises(ConfigError) as caught:
        plan(*arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
