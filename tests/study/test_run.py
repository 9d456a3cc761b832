import itertools
import json
import math
import shutil

import pytest
import torch
from rich.console import Console
from tools.members import SMALL, compose, members, run_small
from tools.training import content, same_logs, same_weights

from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.runs import lock
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.job import Job
from rnnstudy.runs.lock import LostError
from rnnstudy.study.jobs.check import plan_job
from rnnstudy.study.run.run import do_run
from rnnstudy.study.screen.progress import Screen
from rnnstudy.writers.run_log import RunLog

EAGER = ("task.lag=19", "model.hidden_size=64", "optimizer.lr=0.01", "train.batch_size=32", "model=gru")
"""Learns the task within some 300 steps."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> RunFolder:
    """A run that is done, to look at."""
    return run_small(tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def copied(trained, tmp_path) -> RunFolder:
    """A copy of it, to resume or to damage."""
    return RunFolder(shutil.copytree(trained.path, tmp_path / "run"))


def rows(folder: RunFolder, **where: int) -> list[dict]:
    log = RunLog(folder)
    records = [record for record in log.metrics() if all(record[key] == value for key, value in where.items())]
    log.close()
    return records


def test_the_same_seed_twice_gives_the_same_bytes(trained, tmp_path):
    other = run_small(tmp_path / "other")
    assert same_weights(trained, other)
    assert same_logs(trained, other)
    assert not same_weights(trained, run_small(tmp_path / "third", "seed=1", "instrument=[]"))


@pytest.mark.parametrize("model", members("model"))
def test_replica_r_alone_is_replica_r_of_a_stack(tmp_path, model):
    arguments = (f"model={model}", "mitigation=[clip_norm]", "instrument=[grad_norm,horizon]")
    stack = run_small(tmp_path / "stack", *arguments)
    for replica in (0, 2):
        alone = run_small(tmp_path / str(replica), *arguments, "replicas=1", f"seed={replica}")
        stacked = content(stack)["network"]
        for name, value in content(alone)["network"].items():
            assert torch.allclose(value[0], stacked[name][replica], rtol=1e-4, atol=1e-6), name
        for one, other in zip(rows(alone), rows(stack, replica=replica), strict=True):
            assert one.keys() == other.keys()
            for tag in one.keys() - {"replica"}:
                assert one[tag] == pytest.approx(other[tag], rel=1e-3, abs=1e-5), tag


def test_a_replica_stops_when_solved_whatever_its_neighbours_do_and_is_measured_then(tmp_path):
    arguments = (*EAGER, "train.num_steps=1500", "train.eval_interval=20", "train.log_interval=20")
    arguments += ("instrument=[hidden_grad_norm]", "instrument.hidden_grad_norm.schedule.interval=1000000")
    stack = run_small(tmp_path / "stack", *arguments, "replicas=3")
    result = json.loads(stack.result.read_text())
    assert result["status"] == ["solved"] * 3
    assert result["steps"] == max(result["steps_to_solve"])
    assert len(set(result["steps_to_solve"])) > 1
    for replica, steps in enumerate(result["steps_to_solve"]):
        mine = rows(stack, replica=replica)
        assert mine[-1]["step"] == steps
        assert mine[-1]["eval/accuracy"] >= 0.99
        assert all(row.get("eval/accuracy", 0) < 0.99 for row in mine[:-1])
        assert result["final"]["eval/accuracy"][replica] == mine[-1]["eval/accuracy"]
    log = RunLog(stack)
    tag = "hidden_grad_norm/h/layer_0/total"
    probed = {(record["replica"], record["step"]) for record in log.curves() if record["tag"] == tag}
    log.close()
    assert probed == {(replica, step) for replica in range(3) for step in (0, result["steps_to_solve"][replica])}


@pytest.mark.slow
def test_training_goes_on_after_solving_if_asked(tmp_path):
    folder = run_small(
        tmp_path / "run", *EAGER, "train.num_steps=500", "train.eval_interval=100", "train.stop_when_solved=false"
    )
    result = json.loads(folder.result.read_text())
    assert result["steps"] == 500
    assert result["status"] == ["solved"] * 3
    assert max(result["steps_to_solve"]) < 500


def test_a_run_without_steps_evaluates_the_first_weights(tmp_path):
    folder = run_small(tmp_path / "run", "train.num_steps=0")
    result = json.loads(folder.result.read_text())
    assert result["steps"] == 0
    assert result["status"] == ["finished"] * 3
    assert all(math.isfinite(loss) for loss in result["final"]["eval/loss"])


def test_what_a_result_says(tmp_path):
    folder = run_small(tmp_path / "run", "seed=4", "mitigation=[clip_norm,truncated_bptt]")
    result = json.loads(folder.result.read_text())
    assert result["status"] == ["finished"] * 3
    assert result["steps_to_solve"] == [None] * 3
    assert result["seed"] == 4
    assert result["versions"]["torch"] == torch.__version__
    assert result["wall_seconds"] > 0
    manifest = json.loads(folder.manifest.read_text())
    assert manifest["facts"]["chance_accuracy"] == 1 / 8
    assert manifest["facts"]["informative_steps"] == [3]
    assert manifest["edits_adjoints"] == ["truncated_bptt"]


def test_a_finished_run_is_not_trained_again(copied):
    before = {path: path.stat().st_mtime_ns for path in sorted(copied.path.rglob("*"))}
    run_small(copied.path)
    assert {path: path.stat().st_mtime_ns for path in sorted(copied.path.rglob("*"))} == before


def test_a_folder_of_another_configuration_is_refused(copied):
    with pytest.raises(ConfigError, match=r"another configuration: task\.lag \(19 there, 30 here\)"):
        run_small(copied.path, "task.lag=30")
    with pytest.raises(ConfigError, match=r"mitigation\.clip_norm\._target_ \(unset there"):
        run_small(copied.path, "mitigation=[clip_norm]")
    run_small(copied.path, "numerics.threads=2")


@pytest.mark.parametrize("text", ["", "- 1", "a: [", "\x00"])
def test_a_folder_with_a_broken_configuration_is_refused(copied, text):
    copied.config.write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        run_small(copied.path)


def test_the_configuration_is_stored_resolved(trained):
    stored = trained.config.read_text()
    assert "${" not in stored
    assert compose()["task"]["_target_"] in stored


def test_a_run_killed_before_its_result_was_written_only_writes_the_result(trained, copied):
    copied.result.unlink()
    run_small(copied.path)
    assert same_logs(trained, copied)
    first, again = (json.loads(folder.result.read_text()) for folder in (trained, copied))
    assert {key: again[key] for key in ("status", "steps", "final")} == {
        key: first[key] for key in ("status", "steps", "final")
    }


@pytest.mark.parametrize("name", ["metrics.jsonl", "curves.jsonl", "histograms.jsonl"])
@pytest.mark.parametrize("damage", ["gone", "not JSON"])
def test_a_damaged_log_is_named_and_not_resumed(copied, name, damage):
    copied.result.unlink()
    path = copied.path / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"xx" + path.read_bytes()[2:])
    with pytest.raises(RnnstudyError, match=rf"{name} is damaged: .*Move the run folder away"):
        run_small(copied.path)
    assert not copied.is_finished


def test_a_damaged_finished_run_is_not_called_finished(copied):
    result = copied.result.read_text()
    copied.result.write_text("zz")
    with pytest.raises(ConfigError, match=r"is damaged: result\.json is no JSON\. Remove that file"):
        run_small(copied.path)
    copied.result.write_text(result)
    for file in ("run.json", "config.yaml"):
        (copied.path / file).unlink()
        with pytest.raises(ConfigError, match=file):
            run_small(copied.path)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="is not empty and holds no"):
        run_small(tmp_path / "mine")
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        run_small(tmp_path / "mine" / "thesis.tex")


def test_running_out_of_memory_says_what_to_lower(tmp_path):
    with pytest.raises(RnnstudyError, match=r"not enough memory for this run; lower model\.hidden_size"):
        run_small(tmp_path / "run", "model.hidden_size=1000000", "model.embedding_size=1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("model", members("model"))
def test_a_run_on_cuda_is_that_on_the_cpu_to_rounding(tmp_path, model):
    arguments = (f"model={model}", "mitigation=[clip_norm]")
    runs = [run_small(tmp_path / device, *arguments, f"device={device}") for device in ("cpu", "cuda")]
    for one, other in zip(rows(runs[0]), rows(runs[1]), strict=True):
        assert one.keys() == other.keys()
        for tag in ("train/loss", "eval/loss", "grad_norm/raw"):
            assert one.get(tag, 0) == pytest.approx(other.get(tag, 0), rel=1e-3)


def test_a_run_whose_lock_was_removed_stops_without_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "SECONDS_BETWEEN_BEATS", 0.05)
    endless = ("train.num_steps=100000", "train.checkpoint_interval=100000")
    config = compose(*SMALL, *endless, f"run_dir='{tmp_path / 'run'}'")
    planned = plan_job(Job(config=config, overrides=[], label="test"))
    steps = itertools.count()

    def remove_lock() -> bool:
        step = next(steps)
        assert step < 20_000, "the run continues without its lock"
        planned.folder.lock.unlink(missing_ok=step > 0)
        return False

    with pytest.raises(LostError, match="was removed"):
        do_run(planned, Screen(Console(quiet=True)), stop=remove_lock)
    assert not list(planned.folder.checkpoints.glob("*"))
    assert not planned.folder.is_finished
    assert not planned.folder.failure.exists()
