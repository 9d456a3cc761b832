"""A sweep that is killed at any moment, again and again, ends as an undisturbed one, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tools.members import SMALL
from tools.training import assert_same_runs, runs_in
from tools.waiting import PATIENCE, until
from tools.zygote import Zygote, zygote

from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.lock import holder_of
from rnnstudy.study.status import Condition, list_runs

pytestmark = pytest.mark.slow

KILLS = 50
SWEEP = (
    "train",
    "-m",
    *SMALL,
    "model=rnn,gru",
    "mitigation=[],[clip_norm]",
    "train.num_steps=45",
    "train.checkpoint_interval=5",
    "instrument.hidden_grad_norm.schedule.interval=7",
    "instrument.flight_recorder.factor=1",
)


@pytest.fixture(scope="module")
def forks():
    with zygote() as started:
        yield started


def arguments(folder: Path, *more: str) -> list[str]:
    return [*SWEEP, f"output_dir='{folder}'", *more]


@pytest.fixture(scope="module")
def undisturbed(forks: Zygote, tmp_path_factory) -> tuple[dict[str, RunFolder], float]:
    folder = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    assert forks.run(arguments(folder), folder / "told.txt") == 0, (folder / "told.txt").read_text()
    return runs_in(folder), time.monotonic() - began


def assert_undisturbed(folder: Path, undisturbed: dict[str, RunFolder]) -> None:
    assert_same_runs(runs_in(folder), undisturbed)
    assert not list(folder.rglob("*.part"))
    assert not list((folder / ".rnnstudy" / "locks").iterdir())


def test_killed_at_fifty_random_moments(forks, undisturbed, tmp_path):
    reference, seconds = undisturbed
    moments, kills, sweeps = random.Random(0), 0, 0
    while kills < KILLS:
        folder = tmp_path / str(sweeps)
        folder.mkdir()
        sweeps += 1
        while True:
            # From before the first run begins to after the last has ended.
            pid = forks.start(arguments(folder), folder / "told.txt")
            time.sleep(moments.uniform(0, 0.6 * seconds))
            os.kill(pid, signal.SIGKILL)
            code = forks.wait()
            if code == 0:
                break
            assert code == -signal.SIGKILL, (folder / "told.txt").read_text()
            kills += 1
            if kills >= KILLS:
                assert forks.run(arguments(folder), folder / "told.txt") == 0, (folder / "told.txt").read_text()
                break
        assert "is damaged" not in (folder / "told.txt").read_text()
        (folder / "told.txt").unlink()
        assert_undisturbed(folder, reference)
    assert kills == KILLS


def test_killed_while_several_processes_do_it(undisturbed, tmp_path):
    """Of the processes of a sweep one is killed: the parent or a worker."""
    locks = tmp_path / ".rnnstudy" / "locks"
    moments, command = random.Random(1), [sys.executable, "-m", "rnnstudy", *arguments(tmp_path)]
    command += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    for victim in ("parent", "worker"):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        holder = until(lambda: next(filter(None, map(holder_of, sorted(locks.glob("*")))), None), process)
        time.sleep(moments.uniform(0, 0.2))
        assert holder is not None
        with suppress(ProcessLookupError):
            os.kill(holder.pid if victim == "worker" else process.pid, signal.SIGKILL)
        told, _ = process.communicate(timeout=PATIENCE)
        if victim == "worker":
            # The others go on, and so does the run whose process died.
            assert process.returncode == 0, told
            assert_undisturbed(tmp_path, undisturbed[0])
            for run in list(runs_in(tmp_path).values())[:2]:
                run.result.unlink()
    # A worker whose parent died stops by itself.
    until(lambda: not any(map(holder_of, locks.glob("*"))))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_undisturbed(tmp_path, undisturbed[0])


def test_two_sweeps_at_once_share_the_work(forks, undisturbed, tmp_path):
    """Both are started at the same moment; no run is done twice, and together they do all of them."""
    with zygote() as others:
        for attempt in range(3):
            folder = tmp_path / str(attempt)
            folder.mkdir()
            told = [folder / "one.txt", folder / "other.txt"]
            for process, output in zip((forks, others), told, strict=True):
                process.start(arguments(folder), output)
            codes = [forks.wait(), others.wait()]
            # Exit code 1 tells that the other still was at work.
            assert set(codes) <= {0, 1}, [output.read_text() for output in told]
            assert 0 in codes
            texts = "".join(output.read_text() for output in told)
            assert texts.count("; 45 steps in") == 4
            assert "failed" not in texts
            for output in told:
                output.unlink()
            assert_undisturbed(folder, undisturbed[0])
            counts = list_runs([folder]).counts
            assert counts == {Condition.FINISHED: 4}
