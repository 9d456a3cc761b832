"""How often a configuration is planned and its folder looked for on the way from a command line to a run."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest
from rich.console import Console
from tools.members import SMALL

import rnnstudy
from rnnstudy.runs.identity import find_run_folder
from rnnstudy.runs.ledger import write_ledger
from rnnstudy.study.jobs.compose import compose_jobs
from rnnstudy.study.sweep.train import train
from rnnstudy.study.sweep.worker import Worker

TINY = (*SMALL, "train.num_steps=1", "instrument=[]", "replicas=1")
PACKAGE = str(Path(rnnstudy.__file__).parent)
PLANNED_ONCE = {"check_plain": 1, "plan_run": 1}
FOUND = {"find_run_folder": 1, "require_fit": 1}


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count the calls of some functions of the package in this thread."""
    calls: Counter[str] = Counter()

    def watch(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name in PLANNED_ONCE | FOUND and code.co_filename.startswith(PACKAGE):
            calls[code.co_name] += 1

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def times(count: int, calls: dict[str, int]) -> dict[str, int]:
    return {name: count * number for name, number in calls.items()}


@pytest.mark.parametrize(("sweep", "count"), [([], 1), (["-m", "model=rnn,gru,lstm"], 3)])
def test_a_run_is_planned_once_and_its_folder_looked_for_again_only_under_the_lock(tmp_path, sweep, count):
    arguments = [*sweep, *TINY, f"output_dir='{tmp_path}'"]
    with counting() as calls:
        runs = train(arguments, Console(quiet=True))
    assert len(runs) == count
    assert calls == times(count, PLANNED_ONCE | {"find_run_folder": 2, "require_fit": 2})
    with counting() as calls:
        assert train(arguments, Console(quiet=True)) == runs
    assert calls == times(count, PLANNED_ONCE | FOUND)


def test_a_worker_plans_its_run_once(tmp_path):
    (job,) = compose_jobs([*TINY, f"output_dir='{tmp_path}'"])
    folder = find_run_folder(job.config, job.overrides)
    ledger = write_ledger(tmp_path, [(job, folder)], "rnnstudy train")
    worker = Worker(ledgers=(ledger.path,), stop_file=tmp_path / "stop", parent=os.getpid())
    with counting() as calls:
        assert worker(SimpleNamespace(ledger=0, at=0)) is None
    assert folder.is_finished
    assert calls == Counter(PLANNED_ONCE | {"find_run_folder": 2, "require_fit": 2})
