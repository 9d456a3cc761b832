"""Files of a stranger's folder lead nowhere else, never end a command's patience, and hold no figure that breaks it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from tools.members import run_small
from tools.synthetic_runs import Synthetic, edit_json, write_run
from tools.waiting import PATIENCE

from rnnstudy.cli.board.links import BoardView
from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.report.compare import Request, compare
from rnnstudy.runs.collection import read_sweep
from rnnstudy.runs.failure import read_failure
from rnnstudy.runs.folder import RunFolder, write_atomically
from rnnstudy.runs.lock import Lock, holder_of, left_behind
from rnnstudy.runs.run import MOST_REPLICAS
from rnnstudy.runs.untrusted import read_json, read_regular
from rnnstudy.training.checkpoint import Checkpoints
from rnnstudy.writers.run_log import RunLog

SMALL = Synthetic(replicas=2, num_steps=100)

READ_SWEEP = (
    "import sys, pathlib; from rnnstudy.runs.collection import read_sweep; s = read_sweep(pathlib.Path(sys.argv[1]));"
)


def replace(path: Path, kind: str) -> None:
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to(path.name)


def python(code: str, *arguments: Path) -> str:
    """What a process prints that is given half a minute: what is wrong with it may be that it never ends."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout.strip()


@pytest.mark.parametrize("kind", ["pipe", "endless", "circle"])
def test_a_pipe_a_device_or_a_circle_of_links_is_not_waited_for(tmp_path, kind):
    for name in ("config.yaml", "run.json", "result.json", "metrics.jsonl", "curves.jsonl"):
        run = write_run(tmp_path / name, SMALL)
        # Found by what is still there.
        replace(run / name, kind)
    write_run(tmp_path / "good", SMALL)
    told = python(f"{READ_SWEEP} print(len(s.unreadable), [r.label for r in s.runs])", tmp_path)
    # A circle counts as no file at all, and a run without a result, or a log, is one that has not ended.
    missing = ["curves.jsonl", "good", "metrics.jsonl", "result.json"] if kind == "circle" else ["good"]
    assert told == f"{6 - len(missing)} {missing}"


@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_checkpoints_failures_and_locks_that_are_none_are_not_waited_for(tmp_path, kind):
    folder = RunFolder(tmp_path / "run_1a2b3c4d")
    folder.checkpoints.mkdir(parents=True)
    folder.lock.parent.mkdir(parents=True)
    for path in (folder.checkpoints / "step_000000005.pt", folder.failure, folder.lock):
        replace(path, kind)
    code = (
        "import sys, pathlib; from rnnstudy.runs.folder import RunFolder; from rnnstudy.runs.lock import "
        "holder_of, left_behind; from rnnstudy.runs.failure import read_failure; "
        "from rnnstudy.training.checkpoint import Checkpoints; f = RunFolder(pathlib.Path(sys.argv[1])); "
        "print(read_failure(f), holder_of(f.lock), left_behind(f.lock), Checkpoints(f.checkpoints).load()[0])"
    )
    assert python(code, folder.path) == "None None None None"


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "run.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="larger than"):
        read_json(tmp_path / "run.json")
    (tmp_path / "few").write_bytes(b"12345")
    assert read_regular(tmp_path / "few", most=5) == b"12345"


NUMBERS = [10**400, 10**19, -1, True, "1" * 5000, None, float("nan"), float("inf"), [[]] * 3, {}, "\ud800", 1e300]


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.slow
@pytest.mark.parametrize("finished", [True, False])
def test_no_figure_in_a_file_ends_the_comparison_of_the_other_runs(tmp_path, finished):
    spec = Synthetic(replicas=2, num_steps=100, digest=True, finished=finished, probes=3)
    good = write_run(tmp_path / "good", spec)
    files = ["run.json", *(["result.json"] if finished else [])]
    count = 0
    for file in files:
        content = json.loads((good / file).read_text())
        places = [(key,) for key in content] + [
            (key, inner) for key in content if isinstance(content[key], dict) for inner in content[key]
        ]
        for place in places:
            for number in NUMBERS:
                for wrapped in (number, [number, number]):
                    run = write_or_link(good, tmp_path / f"{count:05d}")
                    count += 1
                    changed = json.loads(json.dumps(content))
                    (changed if len(place) == 1 else changed[place[0]])[place[-1]] = wrapped
                    (run / file).unlink()
                    (run / file).write_text(json.dumps(changed))
    sweep = read_sweep(tmp_path)
    assert len(sweep.runs) + len(sweep.unreadable) == count + 1
    assert len(sweep.unreadable) > count // 10


def write_or_link(good: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in good.iterdir():
        (folder / file.name).hardlink_to(file)
    return folder


@pytest.mark.parametrize("number", [json.dumps(each) for each in NUMBERS] + [deep(100_000)])
@pytest.mark.parametrize("key", ["step", "replica", "train/loss", "clip_norm/active", "values", "tag"])
def test_no_figure_in_a_log_ends_the_comparison_of_the_other_runs(tmp_path, key, number):
    write_run(tmp_path / "good", SMALL)
    bad = write_run(tmp_path / "bad", SMALL)
    log = bad / ("curves.jsonl" if key in {"values", "tag"} else "metrics.jsonl")
    first, *rest = log.read_text().splitlines()
    entries = {name: json.dumps(value) for name, value in json.loads(first).items()} | {key: number}
    line = "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in entries.items()) + "}"
    log.write_text("\n".join([line, *rest]) + "\n")
    assert "good" in [run.label for run in read_sweep(tmp_path).runs]


@pytest.mark.parametrize("file", ["run.json", "result.json", "metrics.jsonl"])
def test_deep_json_is_named_and_the_other_runs_are_compared(tmp_path, file):
    write_run(tmp_path / "good", SMALL)
    (write_run(tmp_path / "bad", SMALL) / file).write_text(deep(200_000) + "\n")
    sweep = read_sweep(tmp_path)
    assert [run.label for run in sweep.runs] == ["good"]
    assert len(sweep.unreadable) == 1
    assert "is no JSON" in sweep.unreadable[0]


def test_more_replicas_than_anybody_trains_are_not_made_room_for(tmp_path):
    write_run(tmp_path / "good", SMALL)
    bad = write_run(tmp_path / "bad", Synthetic(replicas=2, num_steps=100, finished=False))
    edit_json(bad / "run.json", replicas=10**15)
    (told,) = read_sweep(tmp_path).unreadable
    assert told == f"bad: run.json: 'replicas' must be at most {MOST_REPLICAS}, is {10**15}"


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["report.html.part", "report.html", "table.csv.part"])
def test_a_report_is_not_written_through_a_link(tmp_path, name):
    private = tmp_path / "private"
    private.write_text("mine")
    write_run(tmp_path / "runs" / "run", SMALL)
    report = tmp_path / "runs" / "report"
    report.mkdir()
    (report / name).symlink_to(private)
    if name.endswith(".part"):
        with pytest.raises(RnnstudyError, match="cannot be written"):
            compare(Request(directories=(tmp_path / "runs",)), Console(quiet=True))
    else:
        compare(Request(directories=(tmp_path / "runs",)), Console(quiet=True))
    assert private.read_text() == "mine"


def test_a_report_folder_that_is_a_link_is_refused_with_the_way_out(tmp_path):
    write_run(tmp_path / "runs" / "run", SMALL)
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "runs" / "report").symlink_to(home)
    with pytest.raises(ConfigError, match="--output"):
        compare(Request(directories=(tmp_path / "runs",)), Console(quiet=True))
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("name", ["metrics.jsonl", "curves.jsonl", "histograms.jsonl"])
def test_a_log_is_not_appended_to_or_cut_through_a_link(tmp_path, name):
    private = tmp_path / "private"
    private.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(private)
    with pytest.raises(OSError, match="symbolic links"):
        RunLog(RunFolder(tmp_path / "run"))
    assert private.read_text() == "mine"


def test_checkpoints_are_not_saved_where_a_link_leads(tmp_path):
    other = Checkpoints(tmp_path / "other", kept=1)
    other.save(1, {"step": 1})
    (tmp_path / "checkpoints").symlink_to(tmp_path / "other")
    with pytest.raises(RnnstudyError, match="is a link"):
        Checkpoints(tmp_path / "checkpoints", kept=1).save(2, {"step": 2})
    assert other.steps() == [1]


def test_a_lock_is_not_written_through_a_link(tmp_path):
    private = tmp_path / "private"
    private.write_text("mine")
    (tmp_path / "lock").symlink_to(private)
    with pytest.raises(RnnstudyError):
        Lock(tmp_path / "lock").acquire()
    assert private.read_text() == "mine"
    assert holder_of(tmp_path / "lock") is left_behind(tmp_path / "lock") is None


def test_a_link_as_partial_file_is_not_followed(tmp_path):
    private = tmp_path / "private"
    private.write_text("mine")
    (tmp_path / "x.part").symlink_to(private)
    with pytest.raises(OSError, match="symbolic links"):
        write_atomically(tmp_path / "x", b"theirs")
    assert private.read_text() == "mine"


def test_a_failure_of_another_shape_is_none(tmp_path):
    (tmp_path / "failure.json").write_text(deep(200_000))
    assert read_failure(RunFolder(tmp_path)) is None


def planted(root: Path, *names: str) -> BoardView:
    """TensorBoard's view of runs that call themselves so."""
    for number, name in enumerate(names):
        run = root / "runs" / f"run_{number:08x}"
        run.mkdir(parents=True)
        (run / "run.json").write_text(json.dumps({"name": name}))
        (run / "events.out.tfevents.1").touch()
    (root / "view" / "inside").mkdir(parents=True)
    return BoardView(root / "runs", root / "view" / "inside", 100)


@pytest.mark.parametrize(
    "names",
    [
        ("../../x", "/etc/x", "..", ". ."),
        (".. a=1", "x a=1"),
        (".. a=1", ".. a=1"),
        ("\N{GRINNING FACE}" * 200, "x" * 300),
        ("\ud800", "\x00", ""),
    ],
)
def test_names_of_runs_do_not_lead_out_of_the_view(tmp_path, names):
    view = planted(tmp_path, *names)
    assert len(view.runs) == len(names)
    assert [path.name for path in (tmp_path / "view").iterdir()] == ["inside"]
    assert len(list((tmp_path / "view" / "inside").rglob("*tfevents*"))) == len(names)


def test_the_view_has_no_pipes_and_follows_no_link_upwards(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "events.out.tfevents.1").touch()
    view = planted(tmp_path, "name")
    run = tmp_path / "runs" / "run_00000000"
    os.mkfifo(run / "events.out.tfevents.2")
    (run / "up").symlink_to(tmp_path)
    (run / "root").symlink_to("/")
    view.refresh()
    assert len(list((tmp_path / "view").rglob("*tfevents*"))) == 1


def test_a_run_that_is_resumed_in_a_folder_with_links_leaves_their_targets_alone(tmp_path):
    folder = run_small(tmp_path / "run")
    folder.result.unlink()
    private = tmp_path / "private"
    private.write_text("mine")
    folder.metrics.unlink()
    folder.metrics.symlink_to(private)
    with pytest.raises(RnnstudyError, match=r"metrics\.jsonl is a link, and would be written through"):
        run_small(tmp_path / "run")
    assert private.read_text() == "mine"
