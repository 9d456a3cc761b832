"""Full and read-only disks, damaged files, clocks that are set back, races: a run tells, and loses nothing."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray
from tools.faults import disk, make_read_only, make_writable, resize
from tools.members import SMALL
from tools.training import content, same_logs, same_weights
from tools.waiting import PATIENCE, until
from tools.zygote import Zygote, zygote

from rnnstudy.cli.main import main
from rnnstudy.runs.folder import RunFolder
from rnnstudy.training.checkpoint import Checkpoints

pytestmark = pytest.mark.slow

RUN = ("train", *SMALL, "train.num_steps=40", "instrument.hidden_grad_norm.schedule.interval=7")
LAST = 40
ENOUGH = 1000
STRIDE = 12
"""Every twelfth size; 1 tries all of them, in some minutes."""


def arguments(folder: RunFolder) -> list[str]:
    return [*RUN, f"run_dir='{folder.path}'"]


@pytest.fixture(scope="module")
def forks():
    with zygote() as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(forks: Zygote, tmp_path_factory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("undisturbed") / "run")
    assert forks.run(arguments(folder), folder.path.parent / "told.txt") == 0
    return folder


@pytest.fixture
def told(tmp_path):
    """What a command says, from the last time this was asked."""
    path = tmp_path / "told.txt"

    def take(forks: Zygote, arguments: list[str]) -> tuple[int, str]:
        path.unlink(missing_ok=True)
        code = forks.run(arguments, path)
        return code, path.read_text()

    return take


def shown(folder: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """The scalars that TensorBoard shows, by tag."""
    events = EventAccumulator(str(folder.tensorboard), size_guidance={"tensors": 0}).Reload()
    tags = [tag for tag in events.Tags()["tensors"] if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"]
    return {tag: [(each.step, float(make_ndarray(each.tensor_proto))) for each in events.Tensors(tag)] for tag in tags}


def assert_undisturbed(folder: RunFolder, undisturbed: RunFolder) -> None:
    assert folder.is_finished
    assert not folder.failure.exists()
    assert same_weights(folder, undisturbed)
    assert same_logs(folder, undisturbed)
    assert repr(shown(folder)) == repr(shown(undisturbed))
    assert not list(folder.path.rglob("*.part"))


# A tmpfs hands out pages, so that the next size lets exactly one more page be written: of the configuration, the log, a
# checkpoint, an event file or the result.
def test_a_full_disk_is_told_in_one_line_and_the_same_command_goes_on(forks, undisturbed, told, tmp_path):
    ends: set[str] = set()
    for pages in (7, 50, 80, *range(1, 201, STRIDE)):
        with disk(tmp_path / "disk", pages) as place:
            folder = RunFolder(place / "run")
            code, text = told(forks, arguments(folder))
            if code == 0:
                ends.add("whole")
                continue
            assert code == 1, (pages, text)
            assert re.fullmatch(r"rnnstudy: .*cannot be written to: No space left on device.*", text.strip()), text
            assert str(folder.path) in text
            saved = Checkpoints(folder.checkpoints).steps()
            if saved:
                assert f"the checkpoint of step {saved[-1]} is intact. Once you free some space" in text
                kept = Checkpoints(folder.checkpoints).load()[0]
                assert kept is not None
                assert kept["step"] == saved[-1]
            assert not list(folder.path.rglob("*.part"))
            assert not folder.is_finished
            ends.add(f"after step {saved[-1]}" if saved else "before the first checkpoint")
            resize(place, ENOUGH)
            code, text = told(forks, arguments(folder))
            assert code == 0, (pages, text)
            assert_undisturbed(folder, undisturbed)
    assert {"before the first checkpoint", "after step 40", "whole"} <= ends
    assert len(ends) >= 6


def test_a_disk_that_turns_read_only(forks, undisturbed, told, tmp_path):
    with disk(tmp_path / "disk", ENOUGH) as place:
        folder = RunFolder(place / "run")
        make_read_only(place)
        code, text = told(forks, arguments(folder))
        assert code == 1
        assert re.fullmatch(r"rnnstudy: .*/run.* cannot be written to: Read-only file system.*", text.strip()), text
        make_writable(place)
        code, text = told(forks, arguments(folder))
        assert code == 0, text
        assert_undisturbed(folder, undisturbed)
        make_read_only(place)
        code, text = told(forks, arguments(folder))
        assert code == 0
        assert "finished already" in text


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def cut_early(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """Change a digit in the middle; what is JSON stays JSON."""
    data = bytearray(path.read_bytes())
    at = next(at for at in range(min(1000, len(data) // 3), len(data)) if data[at : at + 1].isdigit())
    data[at] ^= 1
    path.write_bytes(data)


def listed(path: Path) -> None:
    path.write_text("[1, 2]\n")


def missing(path: Path) -> None:
    path.unlink()


def fewer(path: Path) -> None:
    held = json.loads(path.read_bytes())
    path.write_text(json.dumps(dict(list(held.items())[:1])))


@pytest.fixture
def interrupted(undisturbed, tmp_path) -> RunFolder:
    """A run with a checkpoint of step 35, and log lines beyond it."""
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(undisturbed.path, folder.path)
    folder.result.unlink()
    last = folder.checkpoints / f"step_{LAST:09d}.pt"
    last.unlink()
    last.with_suffix(".pt.sha256").unlink()
    saved = Checkpoints(folder.checkpoints)
    assert saved.steps() == [35]
    return folder


@pytest.fixture
def retold(forks, told):
    """The command of a run, once more."""

    def run(folder: RunFolder) -> tuple[int, str]:
        return told(forks, arguments(folder))

    return run


@pytest.mark.parametrize("log", ["metrics", "curves", "histograms"])
@pytest.mark.parametrize("damage", [cut_early, empty, flip])
def test_a_damaged_log_is_named_before_training_goes_on(interrupted, retold, log, damage):
    path = getattr(interrupted, log)
    damage(path)
    before = path.read_bytes()
    code, text = retold(interrupted)
    assert code == 1
    assert f"{path} is damaged" in text
    assert "Traceback" not in text
    assert path.read_bytes() == before
    assert not interrupted.is_finished


def test_a_log_that_was_changed_beyond_the_checkpoint_is_written_anew(interrupted, retold, undisturbed):
    with interrupted.metrics.open("ab") as file:
        file.write(b'{"step":')
    code, text = retold(interrupted)
    assert code == 0, text
    assert_undisturbed(interrupted, undisturbed)


@pytest.mark.parametrize("damage", [cut, empty, flip, listed])
@pytest.mark.parametrize("which", ["checkpoint", "digest"])
def test_a_damaged_checkpoint_is_named(interrupted, retold, undisturbed, damage, which):
    path = interrupted.checkpoints / "step_000000035.pt"
    damage(path if which == "checkpoint" else path.with_suffix(".pt.sha256"))
    code, text = retold(interrupted)
    assert code == 0, text
    assert f"{path.name} is damaged" in text
    assert_undisturbed(interrupted, undisturbed)


@pytest.mark.parametrize("key", ["step", "done", "network", "optimizer", "log", "data", "replicas", "averages"])
def test_a_whole_checkpoint_without_some_of_its_content_is_refused(interrupted, retold, key):
    """Such as one of another version: its digest fits."""
    held = content(interrupted)
    del held[key]
    Checkpoints(interrupted.checkpoints).save(35, held)
    code, text = retold(interrupted)
    assert code == 1
    assert f"{interrupted.checkpoints}: the last checkpoint is not one of this run" in text
    assert "Traceback" not in text


def test_the_checkpoint_of_another_run_is_refused(forks, interrupted, retold, told, tmp_path):
    other = RunFolder(tmp_path / "other")
    assert told(forks, [*arguments(other), "seed=7"])[0] == 0
    for path in interrupted.checkpoints.iterdir():
        path.unlink()
    for path in other.checkpoints.glob("step_000000035.*"):
        shutil.copy(path, interrupted.checkpoints)
    code, text = retold(interrupted)
    assert code == 1
    assert f"{interrupted.metrics} is damaged" in text


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((name, damage) for name in ("run.json", "result.json") for damage in (cut, empty, listed)),
        ("result.json", fewer),
        ("config.yaml", cut),
        ("config.yaml", empty),
        ("config.yaml", listed),
        ("run.json", missing),
        ("config.yaml", missing),
    ],
)
def test_a_damaged_file_of_a_finished_run_is_named_by_all_that_read_it(undisturbed, tmp_path, capsys, name, damage):
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(undisturbed.path, folder.path)
    damage(folder.path / name)
    assert main(arguments(folder)) == 1
    told = capsys.readouterr().err
    # A configuration may be damaged so that it still is one.
    assert name in told or "holds a run of another configuration" in told
    assert len(told.splitlines()) == 1
    assert main(["compare", str(folder.path), "--output", str(tmp_path / "page")]) == 1
    compared = capsys.readouterr().err
    assert name in compared or (damage is missing and "No run in" in compared)
    if name == "config.yaml":
        assert main(["theory", "--run", str(folder.path)]) == 1
        assert name in capsys.readouterr().err


def test_a_removed_result_is_written_again(forks, undisturbed, told, tmp_path):
    """As the error about a damaged one advises."""
    folder = RunFolder(tmp_path / "run")
    shutil.copytree(undisturbed.path, folder.path)
    folder.result.unlink()
    code, text = told(forks, arguments(folder))
    assert code == 0, text
    again, before = (json.loads(run.result.read_bytes()) for run in (folder, undisturbed))
    for figure in ("status", "steps_to_solve", "steps", "final", "digest"):
        assert again[figure] == before[figure]
    assert_undisturbed(folder, undisturbed)


CLOCK = """
import time
_time, _start, _monotonic = time.time, time.monotonic(), time.monotonic
# Set back by an hour again and again, at most every few milliseconds.
time.time = lambda: _time() - 3600 * int((_monotonic() - _start) * 200)
"""


def test_a_clock_that_is_set_back_changes_nothing(undisturbed, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    folder = RunFolder(tmp_path / "run")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "rnnstudy", *arguments(folder)]
    for stopped in (True, False):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path.cwd()
        )
        if stopped:
            until(lambda: list(folder.checkpoints.glob("*.pt")), process)
            process.kill()
        text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, text
    assert_undisturbed(folder, undisturbed)
    result = json.loads(folder.result.read_bytes())
    assert 0 < result["wall_seconds"] < PATIENCE
    assert all(seconds >= 0 for seconds in result["phase_seconds"].values())


def test_of_two_processes_that_race_for_one_run_one_trains(forks, undisturbed, tmp_path):
    with zygote() as others:
        for attempt in range(8):
            folder = RunFolder(tmp_path / f"run_{attempt}")
            texts = [tmp_path / f"{attempt}_{name}.txt" for name in ("one", "other")]
            for process, text in zip((forks, others), texts, strict=True):
                process.start(arguments(folder), text)
                # From the same moment to one after the other.
                time.sleep(0.04 * attempt)
            codes = [forks.wait(), others.wait()]
            said = "".join(text.read_text() for text in texts)
            assert said.count("; 40 steps in") == 1, said
            held, found = said.count("is being done by process"), said.count("finished already")
            assert held + found == 1, said
            assert sorted(codes) == [0, held], said
            assert_undisturbed(folder, undisturbed)


def test_memory_that_runs_out_is_told(tmp_path):
    """A real limit on the address space, too small for the run that is asked for."""
    folder = RunFolder(tmp_path / "run")
    limit = 6 * 2**30
    command = ["prlimit", f"--as={limit}", sys.executable, "-m", "rnnstudy", *arguments(folder)]
    if shutil.which("prlimit") is None:
        pytest.skip("there is no prlimit")
    done = subprocess.run([*command, "train.eval_batch_size=20000000"], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "there is not enough memory for this run; lower model.hidden_size" in done.stderr
    assert "Traceback" not in done.stderr
    assert "not enough memory" in json.loads(folder.failure.read_bytes())["error"]
    assert torch.get_num_threads() >= 1
