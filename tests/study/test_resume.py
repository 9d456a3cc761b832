"""A run that is killed and started again ends as an undisturbed one, bit for bit. Real processes, real signals."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tools.members import SMALL, run_small
from tools.training import content, same_logs
from tools.waiting import PATIENCE, until

from rnnstudy.runs.folder import RunFolder
from rnnstudy.training.checkpoint import Checkpoints

pytestmark = pytest.mark.slow

RUN = (
    *SMALL,
    "model.hidden_size=24",
    "train.num_steps=260",
    "train.checkpoint_interval=9",
    "mitigation=[clip_norm]",
    "mitigation.clip_norm.max_norm=0.3",
    "instrument.hidden_grad_norm.schedule.interval=7",
    "instrument.flight_recorder.factor=1",
)


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "rnnstudy", "train", *RUN, f"run_dir='{folder}'"]


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder.parent
    )


def wait_until_training(folder: RunFolder, process: subprocess.Popen[str]) -> None:
    until(lambda: folder.metrics.exists() and folder.metrics.stat().st_size > 0, process)


def steps(folder: RunFolder) -> list[int]:
    """Those that checkpoints were saved at."""
    return Checkpoints(folder.checkpoints).steps()


def last_heatmap(folder: RunFolder) -> tuple[int, bytes]:
    events = EventAccumulator(str(folder.tensorboard)).Reload()
    image = events.Images("hidden_grad_norm/h/layer_0/total/heatmap")[-1]
    return image.step, image.encoded_image_string


def assert_same_run(folder: RunFolder, reference: RunFolder) -> None:
    assert folder.is_finished
    assert same_logs(folder, reference)
    assert last_heatmap(folder) == last_heatmap(reference)
    ends = [content(place) for place in (folder, reference)]
    for part in ("network", "averages", "replicas"):
        assert all(torch.equal(value, ends[1][part][name]) for name, value in ends[0][part].items())
    for index, state in ends[0]["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(value, ends[1]["optimizer"]["state"][index][name])


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> RunFolder:
    return run_small(tmp_path_factory.mktemp("reference") / "run", *RUN)


def test_killed_at_any_moment(tmp_path, reference):
    """SIGKILL at random moments, again and again."""
    folder, moments = RunFolder(tmp_path / "run"), random.Random(0)
    for kill in range(6):
        process = start(folder.path)
        # Somewhere in the next 36 steps, of 260 altogether.
        until(lambda kill=kill: max(steps(folder), default=0) >= 36 * kill, process)
        time.sleep(moments.uniform(0, 0.02))
        process.kill()
        _, errors = process.communicate()
        # A busy machine may let it end before.
        assert process.returncode in {0, -signal.SIGKILL}, errors
    done = subprocess.run(command(folder.path), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_run(folder, reference)


def test_killed_once_and_its_newest_checkpoint_truncated(tmp_path, reference):
    folder = RunFolder(tmp_path / "run")
    process = start(folder.path)
    until(lambda: len(list(folder.checkpoints.glob("*.pt"))) > 1, process)
    process.kill()
    process.communicate()
    newest = max(folder.checkpoints.glob("*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    with folder.metrics.open("ab") as file:
        file.write(b'{"step":')
    done = subprocess.run(command(folder.path), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{newest.name} is damaged; going back to the checkpoint before it" in done.stdout
    assert "resumed after" in done.stdout
    assert_same_run(folder, reference)


def train_in_a_terminal_that_is_closed(folder: RunFolder) -> int:
    """Close the terminal of a run after its first checkpoint; return its exit code."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *command(folder.path)], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder.path.parent
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    while process.poll() is None and not list(folder.checkpoints.glob("*.pt")):
        # What nobody reads would soon hold up who writes it.
        with suppress(BlockingIOError):
            os.read(ours, 2**16)
        time.sleep(0.005)
    os.close(ours)
    return process.wait(PATIENCE)


def test_a_terminal_that_is_closed_leaves_a_checkpoint(tmp_path, reference):
    folder = RunFolder(tmp_path / "run")
    code = train_in_a_terminal_that_is_closed(folder)
    if folder.is_finished:  # a busy machine may let it end before
        folder = RunFolder(tmp_path / "again")
        code = train_in_a_terminal_that_is_closed(folder)
    assert code == 130
    assert "a checkpoint is saved" in folder.history.read_text()
    assert not folder.failure.exists()
    assert not folder.is_finished
    done = subprocess.run(command(folder.path), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_run(folder, reference)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_says_how_to_resume(tmp_path, reference, number):
    folder = RunFolder(tmp_path / "run")
    process = start(folder.path)
    wait_until_training(folder, process)
    os.kill(process.pid, number)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "a checkpoint is saved. To go on: rnnstudy train" in errors
    assert not folder.is_finished
    assert list(folder.checkpoints.glob("*.pt"))
    done = subprocess.run(command(folder.path), capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_run(folder, reference)
