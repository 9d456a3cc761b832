"""A sweep on several cores, by hydra/launcher=joblib: real processes, some of which die."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tools.members import SMALL
from tools.training import assert_same_runs, runs_in
from tools.waiting import PATIENCE, until

from rnnstudy.runs.failure import read_failure
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.lock import Holder, holder_of

pytestmark = pytest.mark.slow

SWEEP = (*SMALL, "model=gru,lstm,rnn", "train.checkpoint_interval=20")
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
LONG = "train.num_steps=500"
SHORT = "train.num_steps=2"


def command(folder: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "rnnstudy", "train", "-m", *SWEEP, f"output_dir='{folder}'", *overrides]


def do(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, *overrides), capture_output=True, text=True, env=wide())


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder, *overrides),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=wide(),
        start_new_session=True,
    )


def wide() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "500"}


def wait_for_training(folder: Path, count: int) -> list[Holder]:
    """Wait until some runs have saved a checkpoint."""

    def training() -> list[Holder]:
        begun = [run for run in runs_in(folder).values() if list(run.checkpoints.glob("*.pt"))]
        holders = [holder for run in begun if (holder := holder_of(run.lock)) is not None]
        return holders if len(holders) >= count else []

    return until(training)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, RunFolder]:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = do(folder, LONG)
    assert done.returncode == 0, done.stderr
    return runs_in(folder)


def assert_undisturbed(folder: Path, undisturbed: dict[str, RunFolder]) -> None:
    assert_same_runs(runs_in(folder), undisturbed)


def test_runs_side_by_side_are_the_same_runs_on_one_thread_each(undisturbed, tmp_path):
    process = start(tmp_path, LONG, *JOBLIB)
    holders = wait_for_training(tmp_path, 2)
    assert len({holder.pid for holder in holders} - {process.pid}) == 2
    for holder in holders:
        environment = Path(f"/proc/{holder.pid}/environ").read_bytes().split(b"\0")
        assert b"OMP_NUM_THREADS=1" in environment
    told, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert errors == ""
    assert told.count("; 500 steps in") == 3
    assert_undisturbed(tmp_path, undisturbed)
    again = do(tmp_path, LONG, *JOBLIB)
    assert again.returncode == 0
    assert "3 of 3 runs finished already" in again.stdout


def test_a_run_whose_process_is_killed_every_time_fails_and_the_others_are_done(undisturbed, tmp_path):
    process = start(tmp_path, LONG, *JOBLIB)
    victim = until(lambda: runs_in(tmp_path).get("gru"), process)
    assert victim is not None
    killed: set[int] = set()
    while process.poll() is None:
        holder = holder_of(victim.lock)
        # The sweep itself holds the lock for an instant, to remove what the dead one left.
        if holder is not None and holder.pid not in killed | {process.pid}:
            killed.add(holder.pid)
            os.kill(holder.pid, signal.SIGKILL)
        time.sleep(0.02)
    told, errors = process.communicate()
    assert process.returncode == 1
    assert len(killed) == 2
    assert "1 of 3 runs failed:\n  [1/3] gru: its process" in errors
    assert "Traceback" not in told + errors
    failed = read_failure(victim)
    assert failed is not None
    assert "died 2 times" in failed.error
    assert runs_in(tmp_path)["lstm"].is_finished
    assert runs_in(tmp_path)["rnn"].is_finished
    assert "rnnstudy compare" in told
    left = do(tmp_path, LONG, *JOBLIB, "retry_failed=false")
    assert left.returncode == 1
    assert "(before; retry_failed=true tries again)" in left.stderr
    assert not victim.is_finished
    retried = do(tmp_path, LONG, *JOBLIB)
    assert retried.returncode == 0, retried.stderr
    assert not victim.failure.exists()
    assert_undisturbed(tmp_path, undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_saves_checkpoints_and_the_same_command_goes_on(undisturbed, tmp_path, number):
    process = start(tmp_path, LONG, *JOBLIB)
    wait_for_training(tmp_path, 2)
    # Ctrl-C reaches every process of the terminal, `kill` only the one.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    told, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, told + errors
    assert "the runs that had begun have saved checkpoints. To go on: rnnstudy train -m" in errors
    assert "Traceback" not in told + errors
    stopped = [run for run in runs_in(tmp_path).values() if not run.is_finished]
    assert stopped
    assert all("a checkpoint is saved" in run.history.read_text() for run in stopped)
    done = do(tmp_path, LONG, *JOBLIB)
    assert done.returncode == 0, done.stderr
    assert "resumed after" in done.stdout
    assert_undisturbed(tmp_path, undisturbed)


def test_on_one_core_the_runs_are_done_in_the_process_of_the_sweep(undisturbed, tmp_path):
    alone = (*JOBLIB[:1], "hydra.launcher.n_jobs=1")
    process = start(tmp_path, LONG, *alone)
    (holder,) = wait_for_training(tmp_path, 1)
    assert holder.pid == process.pid
    process.send_signal(signal.SIGINT)
    told, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, told + errors
    assert "To go on: rnnstudy train -m" in errors
    assert len(runs_in(tmp_path)) == 1
    done = do(tmp_path, LONG, *alone)
    assert done.returncode == 0, done.stderr
    assert "resumed after" in done.stdout
    assert_undisturbed(tmp_path, undisturbed)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("n_jobs=0", "hydra.launcher.n_jobs must be at least 1, or -1 for all cores, got 0."),
        ("timeout=1", "a run took longer than hydra.launcher.timeout seconds; leave that out."),
    ],
)
def test_settings_with_which_nothing_is_done_are_one_line(tmp_path, setting, message):
    done = do(tmp_path, SHORT, *JOBLIB, f"hydra.launcher.{setting}")
    assert (done.returncode, done.stderr) == (1, f"rnnstudy: {message}\n")


def test_a_failing_run_leaves_the_others_alone_and_is_tried_again(tmp_path):
    assert do(tmp_path, SHORT).returncode == 0
    gru = runs_in(tmp_path)["gru"]
    for run in runs_in(tmp_path).values():
        run.result.unlink()
    blocked = gru.path / "config.yaml.part"
    blocked.mkdir()
    done = do(tmp_path, SHORT, *JOBLIB)
    assert done.returncode == 1
    error = f"{gru.path} cannot be written to: Is a directory"
    assert done.stderr.startswith(f"rnnstudy: 1 of 3 runs failed:\n  [1/3] gru: {error}")
    assert done.stderr.count("\n") == 2
    assert runs_in(tmp_path)["lstm"].is_finished
    blocked.rmdir()
    assert do(tmp_path, SHORT, *JOBLIB).returncode == 0
    assert gru.is_finished


def test_a_run_without_enough_memory_fails_and_the_others_are_done(tmp_path):
    """A real limit, on the address space of the workers."""
    limited = ["prlimit", f"--as={6 * 2**30}", *command(tmp_path, SHORT, *JOBLIB, "model=lstm", "seed=0,1")]
    done = subprocess.run(
        [*limited, "model.hidden_size=8,30000"], capture_output=True, text=True, env=wide(), check=False
    )
    assert done.returncode == 1, done.stdout
    assert "2 of 4 runs failed" in done.stderr
    assert done.stderr.count("there is not enough memory for this run; lower model.hidden_size") == 2
    assert len(list(tmp_path.glob("*/result.json"))) == 2


@pytest.fixture
def little_memory():
    """A group of processes that may have 1.5 GiB; before they have more the kernel kills the largest."""
    old, new = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    is_old = (old / "memory.limit_in_bytes").exists()
    group = (old if is_old else new) / f"rnnstudy_test_{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if is_old else "memory.max")).write_text(str(3 * 2**29))
    except OSError as error:
        pytest.skip(f"no group of processes with a limit can be made here: {error}")
    yield group
    # A process that was killed leaves its group a moment later.
    until(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


def test_a_worker_that_the_kernel_kills_for_its_memory_does_not_end_the_sweep(tmp_path, little_memory):
    inside = ["sh", "-c", f'echo $$ > {little_memory}/cgroup.procs; exec "$@"', "sh"]
    sweep = command(tmp_path, SHORT, *JOBLIB, "model=rnn", "model.hidden_size=8,10,30000")
    done = subprocess.run([*inside, *sweep], capture_output=True, text=True, env=wide(), check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 3 runs failed:\n  [3/3] rnn, hidden_size=30000: its process" in done.stderr
    assert "died 2 times: killed, perhaps for memory" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(list(tmp_path.glob("*/result.json"))) == 2
