"""Sweeps on a real Slurm: jobs that end, that are killed, preempted, cancelled, or that fail."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools.members import SMALL
from tools.slurm import cluster, queue, why_not
from tools.training import assert_same_runs, runs_in
from tools.waiting import PATIENCE, until

from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.lock import holder_of
from rnnstudy.training.checkpoint import Checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

SWEEP = (*SMALL, "model=gru,lstm", "train.checkpoint_interval=50")
LONG = "train.num_steps=1500"
ON_SLURM = ("hydra/launcher=submitit_slurm", "hydra.launcher.mem_gb=1")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("slurm")) as env:
        yield env


@pytest.fixture(autouse=True)
def _queue_of_its_own(slurm):
    """What another test has left is not taken for a job of this one."""
    until(lambda: not queue(slurm))


def start(env: dict[str, str], folder: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rnnstudy", "train", "-m", *SWEEP, f"output_dir='{folder}'", *overrides]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.fixture(scope="module")
def undisturbed(slurm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(slurm, folder, LONG)
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    return runs_in(folder)


def assert_undisturbed(folder: Path, undisturbed: dict[str, RunFolder]) -> None:
    assert_same_runs(runs_in(folder), undisturbed)


def is_training(run: RunFolder) -> bool:
    return bool(Checkpoints(run.checkpoints).steps()) and holder_of(run.lock) is not None


def start_now(env: dict[str, str], *jobs: str) -> None:
    """Have jobs started that are queued again, for which Slurm would wait two minutes."""
    # Within a few seconds, their node still refuses them.
    time.sleep(4)
    for job in jobs:
        subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], env=env, check=True)


def test_a_job_that_is_killed_is_done_again_and_one_that_is_preempted_goes_on(slurm, undisturbed, tmp_path):
    process = start(slurm, tmp_path, LONG, *ON_SLURM)
    until(lambda: len(runs_in(tmp_path)) == 2 and all(map(is_training, runs_in(tmp_path).values())))
    gru, lstm = (runs_in(tmp_path)[model] for model in ("gru", "lstm"))
    holder = holder_of(gru.lock)
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)
    # The jobs of an array are in the order of the runs.
    (preempted,) = [job for job in queue(slurm) if job.endswith("_1")]
    subprocess.run(["scancel", "--signal=USR2", preempted], env=slurm, check=True)
    until(lambda: preempted in queue(slurm, "--states=PENDING"))
    assert holder_of(lstm.lock) is None
    assert "stopped after" in lstm.history.read_text()
    start_now(slurm, preempted)
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert "resumed after" in lstm.history.read_text()
    assert_undisturbed(tmp_path, undisturbed)


def test_a_job_that_is_cancelled_saves_a_checkpoint_and_the_same_command_goes_on(slurm, undisturbed, tmp_path):
    process = start(slurm, tmp_path, LONG, *ON_SLURM)
    until(lambda: len(runs_in(tmp_path)) == 2 and all(map(is_training, runs_in(tmp_path).values())))
    subprocess.run(["scancel", *[job for job in queue(slurm) if job.endswith("_0")]], env=slurm, check=True)
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, told
    assert "1 of 2 runs failed" in told
    assert "[1/2] gru: stopped before its end; the same command goes on" in told
    assert "a checkpoint is saved" in runs_in(tmp_path)["gru"].history.read_text()
    assert runs_in(tmp_path)["lstm"].is_finished
    again = start(slurm, tmp_path, LONG, *ON_SLURM)
    told, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, told
    assert "1 of 2 runs finished already" in told
    assert_undisturbed(tmp_path, undisturbed)


@pytest.mark.parametrize("partition", ["low", "low_with_grace"])
def test_jobs_that_give_way_to_others_go_on(slurm, undisturbed, tmp_path, partition):
    """Slurm's own preemption: with GraceTime a job that has saved its checkpoint must ask to be queued again."""
    process = start(slurm, tmp_path, LONG, *ON_SLURM, f"hydra.launcher.partition={partition}")
    until(lambda: len(runs_in(tmp_path)) == 2 and all(map(is_training, runs_in(tmp_path).values())))
    taken = queue(slurm)
    all_cores = f"--cpus-per-task={max(2, os.cpu_count() or 2)}"
    other = ["sbatch", "--partition=high", all_cores, "--output=/dev/null", "--wrap=sleep 2"]
    subprocess.run(other, env=slurm, check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    until(lambda: set(taken) <= set(queue(slurm, "--states=PENDING")))
    for run in runs_in(tmp_path).values():
        assert "a checkpoint is saved" in run.history.read_text()
    until(lambda: queue(slurm) and set(queue(slurm)) <= set(taken))
    start_now(slurm, *taken)
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert_undisturbed(tmp_path, undisturbed)


def test_a_run_that_fails_does_not_end_the_sweep(slurm, tmp_path):
    first = start(slurm, tmp_path, "train.num_steps=1")
    first.communicate(timeout=PATIENCE)
    gru = runs_in(tmp_path)["gru"]
    gru.result.unlink()
    (gru.path / "config.yaml.part").mkdir()
    runs_in(tmp_path)["lstm"].result.unlink()
    process = start(slurm, tmp_path, "train.num_steps=1", *ON_SLURM)
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert told.count("cannot be written to: Is a directory") == 2
    assert runs_in(tmp_path)["lstm"].is_finished


def test_without_waiting_the_jobs_go_on(slurm, undisturbed, tmp_path):
    process = start(slurm, tmp_path, LONG, *ON_SLURM)
    until(lambda: len(queue(slurm)) == 2)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "the jobs go on. To see them: squeue --me; to stop them: scancel" in told
    until(lambda: not queue(slurm))
    assert_undisturbed(tmp_path, undisturbed)


def test_what_slurm_does_not_know_is_one_line(slurm, tmp_path):
    process = start(slurm, tmp_path, "train.num_steps=1", *ON_SLURM, "hydra.launcher.partition=nowhere")
    told, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "invalid partition" in told.lower()
    assert "Traceback" not in told
