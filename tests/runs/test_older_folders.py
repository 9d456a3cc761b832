"""Run folders written by an earlier version, kept in tests/fixtures/before_rooms, are read, found and resumed."""

import csv
import math
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from tools.members import SAMPLE_TEXT

from rnnstudy.report.compare import Request, compare
from rnnstudy.runs.collection import read_sweep
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.identity import find_run_folder
from rnnstudy.runs.job import Job
from rnnstudy.runs.logs import read_metrics
from rnnstudy.runs.usable import require_fit
from rnnstudy.study.jobs.check import plan_job
from rnnstudy.study.run.load import load_run
from rnnstudy.study.run.run import do_run
from rnnstudy.study.screen.progress import Screen

KEPT = SAMPLE_TEXT.parents[1] / "fixtures" / "before_rooms"


@pytest.fixture
def runs(tmp_path):
    return Path(shutil.copytree(KEPT / "runs", tmp_path / "before_rooms"))


ANEW = {"seed", "difference_low", "difference_high", "verdict", "resamples"}
"""Columns of older reports that are gone, or decided by other methods now."""


def test_every_figure_of_the_table_is_still_the_same(runs):
    compare(Request(directories=(runs,)), Console(quiet=True))
    for name in ("table.csv", "runs.csv", "comparisons.csv"):
        then, now = ([*csv.DictReader((folder / name).read_text().splitlines())] for folder in (KEPT, runs / "report"))
        keys = ("run", "measure") if name == "comparisons.csv" else ("run", "replica")
        found = {tuple(row.get(key) for key in keys): row for row in now}
        assert len(found) == len(now) >= len(then)
        for old in then:
            new = found[tuple(old.get(key) for key in keys)]
            for column in old.keys() - ANEW:
                same = new[column] == old[column]
                assert same or math.isclose(float(new[column]), float(old[column]), rel_tol=1e-9), column


def test_a_run_is_found_by_its_configuration_and_may_go_on(runs):
    for found in read_sweep(runs).runs:
        config = {**found.config, "output_dir": str(runs)}
        assert find_run_folder(config, []).path == found.path
        require_fit(found.folder, config, data_digest=None)


def test_the_mitigations_that_edited_adjoints_are_known(runs):
    edited = {found.label: found.edits_adjoints for found in read_sweep(runs).runs}
    clipped = "lstm+clip_adjoint_77612331"
    assert edited == {**dict.fromkeys(edited, ()), clipped: ("clip_adjoint",)}


def test_a_checkpoint_is_loaded(runs):
    network = load_run(runs / "lstm_aba491b2").network
    assert (network.replicas, len(network.recurrent_layers)) == (2, 1)


def test_an_unfinished_run_goes_on_from_its_checkpoint_and_keeps_its_log(runs):
    folder = RunFolder(runs / "lstm+clip_adjoint_77612331")
    logged = folder.metrics.read_text().splitlines()
    folder.result.unlink()
    for path in folder.checkpoints.glob("step_000000030*"):
        path.unlink()
    (found,) = [each for each in read_sweep(runs).runs if each.path == folder.path]
    job = Job(config={**found.config, "run_dir": str(folder.path)}, overrides=[], label="old")
    do_run(plan_job(job), Screen(Console(quiet=True)))
    before = [line for line in logged if '"step":20,' not in line and '"step":30,' not in line]
    assert folder.metrics.read_text().splitlines()[: len(before)] == before
    assert read_metrics(folder.metrics, 2)["eval/loss"].steps.tolist() == [0, 10, 20, 30]
    assert folder.is_finished
