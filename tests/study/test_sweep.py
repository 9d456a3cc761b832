"""Which runs a sweep does."""

import hashlib
import io
import itertools
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from rich.console import Console
from tools.members import SMALL

from rnnstudy.cli.main import main
from rnnstudy.config.plain import check_plain
from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.runs.failure import UnfinishedError
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.identity import whole_essence
from rnnstudy.study.jobs.check import check, plan_all
from rnnstudy.study.jobs.compose import compose_jobs
from rnnstudy.study.sweep.train import train

TINY = (*SMALL, "train.num_steps=1", "task=adding", "task.seq_len=5", "instrument=[]", "replicas=1")


def chosen(folder) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Model, initialisations and mitigations of the runs in a folder."""
    configs = [yaml.safe_load(path.read_text())["choices"] for path in folder.glob("*/config.yaml")]
    return sorted((each["model"], tuple(each["init"]), tuple(each["mitigation"])) for each in configs)


def test_one_at_a_time_leaves_out_what_differs_in_two(tmp_path):
    lists = ["init=[],[chrono],[forget_bias]", "mitigation=[],[clip_norm]", "model=gru,lstm"]
    train(["-m", *TINY, *lists, "one_at_a_time=true", f"output_dir='{tmp_path}'"], Console(quiet=True))
    assert chosen(tmp_path) == [
        ("gru", (), ()),
        ("gru", (), ("clip_norm",)),
        ("gru", ("chrono",), ()),
        ("gru", ("forget_bias",), ()),
        ("lstm", (), ()),
    ]


@pytest.mark.slow
def test_without_it_all_are_done(tmp_path):
    lists = ["init=[],[chrono]", "mitigation=[],[clip_norm]"]
    train(["-m", *TINY, *lists, f"output_dir='{tmp_path}'"], Console(quiet=True))
    assert len(chosen(tmp_path)) == 4


@pytest.mark.slow
def test_what_is_left_out_need_not_be_possible(tmp_path):
    """h_detach with a GRU would be refused; it is the second value of both."""
    lists = ["model=lstm,gru", "mitigation=[],[h_detach]", f"output_dir='{tmp_path}'"]
    train(["-m", *TINY, *lists, "one_at_a_time=true"], Console(quiet=True))
    assert chosen(tmp_path) == [("gru", (), ()), ("lstm", (), ()), ("lstm", (), ("h_detach",))]
    with pytest.raises(ConfigError, match="it needs a cell state beside the hidden state; it applies to lstm"):
        train(["-m", *TINY, *lists], Console(quiet=True))


def test_the_runs_are_numbered_among_those_that_are_done(tmp_path):
    console = Console(width=300, file=io.StringIO(), record=True)
    lists = ["init=[],[chrono]", "mitigation=[],[clip_norm]", "one_at_a_time=true", f"output_dir='{tmp_path}'"]
    train(["-m", *TINY, *lists], console)
    told = [line.partition(":")[0] for line in console.export_text().splitlines() if "solved 0 of 1" in line]
    assert told == ["[1/3] lstm", "[2/3] lstm + clip_norm", "[3/3] lstm (chrono)"]


def test_a_run_is_named_by_its_initialisations_too(tmp_path):
    train(
        [*TINY, "init=[orthogonal,chrono]", "mitigation=[clip_norm]", f"output_dir='{tmp_path}'"], Console(quiet=True)
    )
    (folder,) = [path.parent for path in tmp_path.glob("*/config.yaml")]
    assert folder.name.startswith("lstm+orthogonal+chrono+clip_norm_")


@pytest.mark.slow
def test_the_order_of_initialisations_makes_another_run(tmp_path):
    for inits in ("[orthogonal,chrono]", "[chrono,orthogonal]"):
        train([*TINY, f"init={inits}", f"output_dir='{tmp_path}'"], Console(quiet=True))
    assert len(chosen(tmp_path)) == 2


def test_the_flag_of_a_sweep_may_stand_between_overrides_and_the_runs_come_back_in_order(tmp_path):
    runs = train([*TINY, f"output_dir='{tmp_path}'", "--multirun", "model=lstm,gru,lstm"], Console(quiet=True))
    assert [yaml.safe_load(run.config.read_text())["choices"]["model"] for run in runs] == ["lstm", "gru"]


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        (
            ["seed=0,1", "replicas=8"],
            "seed=0 and seed=1 share 7 of their 8 networks, since replica r uses seed + r: space the seeds by at least "
            "8, such as seed=0,8.",
        ),
        (["seed=0,8", "replicas=8"], None),
        (["seed=3,4", "replicas=1"], None),
        (["seed=5", "replicas=2,3"], "seed=5 replicas=2 and seed=5 replicas=3 share 2 networks, since"),
        (
            # Runs that also differ in the model share nothing, and two models have the same pairs.
            ["seed=range(5)", "replicas=2", "model=rnn,gru"],
            "seed=0 and seed=1 share 1 of their 2 networks; seed=1 and seed=2 share 1 of their 2 networks; so do 2 "
            "more pairs of runs, since replica r uses seed + r: space the seeds by at least 2, such as seed=0,2,4,6.",
        ),
    ],
)
def test_a_sweep_says_before_it_begins_which_networks_it_trains_twice(tmp_path, capsys, sweep, told):
    assert main(["train", "-m", *TINY, "train.num_steps=0", *sweep, f"output_dir='{tmp_path}'"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(told) if told else "share" not in first


def test_a_failing_sweep_tells_its_error_then_and_at_the_end_and_where_the_other_runs_are(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "500")
    # One of the two runs cannot be written, which shows once it begins.
    train([*TINY, f"output_dir='{tmp_path}'", "-m", "model=gru,lstm"], Console(quiet=True))
    (gru,) = (path for path in tmp_path.iterdir() if path.name.startswith("gru"))
    (gru / "result.json").unlink()
    (gru / "config.yaml.part").mkdir()
    assert main(["train", *TINY, f"output_dir='{tmp_path}'", "-m", "model=gru,lstm"]) == 1
    shown = capsys.readouterr()
    error = f"{gru} cannot be written to: Is a directory"
    assert f"[1/2] gru: failed: {error}" in shown.out
    assert shown.err.startswith(f"rnnstudy: 1 of 2 runs failed:\n  [1/2] gru: {error}")
    assert shown.err.count("\n") == 2
    assert f"rnnstudy compare {tmp_path}" in shown.out
    with pytest.raises(UnfinishedError) as caught:
        train([*TINY, f"output_dir='{tmp_path}'", "-m", "model=gru,lstm"], Console(quiet=True))
    assert [run.path.name.partition("_")[0] for run in caught.value.runs] == ["gru", "lstm"]


def test_a_sweep_in_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "held" / ".rnnstudy").mkdir(parents=True)
    (tmp_path / "held" / ".rnnstudy" / "sweeps").write_text("")
    for place in ("held", "file/x"):
        with pytest.raises(RnnstudyError) as caught:
            train([*TINY, "-m", "model=gru,lstm", f"output_dir='{tmp_path / place}'"], Console(quiet=True))
        assert str(caught.value).startswith(f"'{tmp_path / place}' cannot be written to: ")


def test_the_lock_of_a_process_that_died_right_after_its_run_is_removed(tmp_path):
    sweep = ["-m", *TINY, "model=rnn,gru", f"output_dir='{tmp_path}'"]
    train(sweep, Console(quiet=True))
    run = RunFolder(next(tmp_path.glob("*/config.yaml")).parent)
    died = "import os, sys, pathlib; from rnnstudy.runs.lock import Lock; "
    died += "Lock(pathlib.Path(sys.argv[1])).acquire(); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", died, str(run.lock)]).returncode == -9
    assert run.lock.exists()
    train(sweep, Console(quiet=True))
    assert not list(run.lock.parent.iterdir())


def test_what_refers_to_another_value_has_that_of_its_run(tmp_path):
    jobs = compose_jobs(["-m", "model.hidden_size=20,28", "task.lag=${model.hidden_size}", "output_dir=x/${task.lag}"])
    assert [job.config["task"]["lag"] for job in jobs] == [20, 28]
    assert [job.config["output_dir"] for job in jobs] == ["x/20", "x/28"]
    assert [job.overrides[1] for job in jobs] == ["task.lag=20", "task.lag=28"]


def test_runs_that_would_share_a_folder_are_refused_wherever_they_are_in_the_sweep(tmp_path):
    folders = f"run_dir='{tmp_path}/one','{tmp_path}/other'"
    with pytest.raises(ConfigError, match="one is one folder, but the sweep has 2 runs for it"):
        train(["-m", *TINY, "seed=0,1", folders], Console(quiet=True))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("nothing", ["seed=range(3,0)", "model=glob(x*)"])
def test_a_sweep_of_nothing_is_refused(nothing):
    with pytest.raises(ConfigError, match="The sweep has no runs: a range or a glob"):
        train(["-m", nothing], Console(quiet=True))


def test_one_and_one_point_zero_are_one_run(tmp_path):
    rates = ["optimizer.lr=1.0,1", "mitigation=[clip_norm]", "mitigation.clip_norm.max_norm=2,2.0"]
    train(["-m", *TINY, *rates, f"output_dir='{tmp_path}'"], Console(quiet=True))
    assert len(list(tmp_path.glob("*/result.json"))) == 1


def test_a_copy_beside_a_run_is_not_taken_for_it(tmp_path):
    sweep = ["-m", *TINY, "model=rnn,gru", f"output_dir='{tmp_path}'"]
    train(sweep, Console(quiet=True))
    run = next(path.parent for path in tmp_path.glob("gru*/result.json"))
    copy = run.with_name(f"a_copy_of_{run.name}")
    shutil.copytree(run, copy)
    for folder in (run, copy):
        (folder / "result.json").unlink()
    train(sweep, Console(quiet=True))
    assert (run / "result.json").exists()
    assert not (copy / "result.json").exists()


def test_a_terminal_is_told_how_many_runs_of_a_long_sweep_are_prepared(tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with pytest.raises(ConfigError, match="seq_len"):
        train(["-m", *TINY, "task.seq_len=0", "seed=range(0,22)"], console)
    assert "preparing the runs: 21 of 22" in console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def seeds_of_one_hash(hashed: str, place: str) -> tuple[int, int]:
    """Two numbers that give a text the same first 32 bits of its hash, in place of another."""
    seen: dict[bytes, int] = {}
    for seed in itertools.count():
        digest = hashlib.sha256(hashed.replace(place, str(seed)).encode()).digest()[:4]
        if digest in seen:
            return seen[digest], seed
        seen[digest] = seed
    raise AssertionError("numbers have no end")


def test_two_runs_that_share_a_hash_by_chance_are_not_taken_for_one(tmp_path):
    sweep = ["-m", *TINY, f"output_dir='{tmp_path}'"]
    (job,) = compose_jobs([*sweep, "seed=987654321"])
    one, other = seeds_of_one_hash(whole_essence(job.config), "987654321")
    with pytest.raises(ConfigError, match="are two runs with one hash, by chance"):
        train([*sweep, f"seed={one},{other}"], Console(quiet=True))
    train([*sweep, f"seed={other}"], Console(quiet=True))
    with pytest.raises(ConfigError, match=rf"holds a run of another configuration: seed \({other} there"):
        train([*sweep, f"seed={one}"], Console(quiet=True))


def test_folders_that_would_share_a_lock_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="end in what counts as one hash; choose other names"):
        train(["-m", *TINY, "seed=0,1", f"run_dir={tmp_path}/${{seed}}_20260731"], Console(quiet=True))


def test_a_long_command_line_makes_a_name_that_a_folder_can_have(tmp_path):
    more = [f"train.{key}=12345678901234567" for key in ("log_interval", "eval_interval", "checkpoint_interval")]
    more += [f"optimizer.{key}=0.12345678901234567890" for key in ("lr", "eps", "weight_decay")]
    train([*TINY, *more, *TINY, f"output_dir='{tmp_path}'"], Console(quiet=True))
    (run,) = tmp_path.glob("*/result.json")
    assert len(run.parent.name.encode()) <= 200


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, so nothing is refused")
def test_a_cluster_may_have_the_gpu_that_this_machine_lacks(tmp_path):
    jobs = compose_jobs([*TINY, "device=cuda", f"output_dir='{tmp_path}'"])
    plains = [check_plain(job.config) for job in jobs]
    with pytest.raises(ConfigError, match="torch finds no CUDA device here"):
        plan_all(jobs, plains, is_sweep=True)
    assert len(plan_all(jobs, plains, is_sweep=True, elsewhere=True)) == 1
    with pytest.raises(ConfigError, match="device must be cpu, cuda"):
        check(compose_jobs([*TINY, "device=gpu"])[0].config, elsewhere=True)
