"""`rnnstudy bench sweep`: the overhead of a sweep, the response time of commands, the gain from several cores."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from rnnstudy.bench.results import new_table
from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.folder import write_figures

FEW = 4
"""Runs of a small sweep; the time difference to a larger one is the cost of its further runs."""

EQUAL = 8
"""Runs of the sweep that is done on one core and on all cores."""

REPEATS = 5

ANSWERS = {
    "nothing but Python": ("-c", "pass"),
    "import torch": ("-c", "import torch"),
    "rnnstudy --help": ("-m", "rnnstudy", "--help"),
    "rnnstudy status": ("-m", "rnnstudy", "status", "."),
    "unknown member: model=lstn": ("-m", "rnnstudy", "train", "model=lstn"),
    "unknown key: task.lga=40": ("-m", "rnnstudy", "train", "task.lga=40"),
    "plain value: train.num_steps=-1": ("-m", "rnnstudy", "train", "train.num_steps=-1"),
    "a member's value: model.hidden_size=0": ("-m", "rnnstudy", "train", "model.hidden_size=0"),
}


def measure_sweep(console: Console, *, steps: int, runs: int, path: Path | None) -> None:
    """Measure, print, and write the figures as JSON if a file is given; raise RnnstudyError if a sweep fails.

    `runs` counts the runs of the larger sweep, `steps` the optimizer steps of those on one core and on all.
    """
    answers = {name: _answer(command) for name, command in ANSWERS.items()}
    overheads = {"basic": _overhead(runs), "joblib": _overhead(runs, "hydra/launcher=joblib")}
    with tempfile.TemporaryDirectory() as place:
        lasting = (f"train.num_steps={steps}", "train.stop_when_solved=false")
        serial, _ = _sweep(Path(place) / "serial", EQUAL, lasting)
        parallel, _ = _sweep(Path(place) / "parallel", EQUAL, (*lasting, "hydra/launcher=joblib"))

    for title, header, taken in (
        (f"Seconds until a command has answered (median of {REPEATS})", "", answers),
        (f"Seconds a run beside its training, from sweeps of {FEW} and {runs} runs", "launcher", overheads),
    ):
        table = new_table(title, [header], ["s"])
        for name, seconds in taken.items():
            table.add_row(name, f"{seconds:.2f}")
        console.print(table)
    cores = len(os.sched_getaffinity(0))
    ratio = parallel / serial
    console.print(f"{EQUAL} equal runs of {steps} steps on {cores} cores: joblib takes {ratio:.2f} x serial")
    if path is not None:
        figures = {"answers_s": answers, "overhead_s": overheads, "cores": cores}
        write_figures(path, figures | {"serial_s": serial, "parallel_s": parallel, "ratio": ratio})


def _answer(arguments: Sequence[str]) -> float:
    """Return the median seconds of a command."""
    command = [sys.executable, *arguments]
    taken = timeit.repeat(lambda: subprocess.run(command, capture_output=True, check=False), number=1, repeat=REPEATS)
    return statistics.median(taken)


def _overhead(many: int, *overrides: str) -> float:
    """Return the seconds that one more run of a sweep costs beside its training."""
    tiny = ("train.num_steps=20", "model.hidden_size=16", "replicas=2", *overrides)
    with tempfile.TemporaryDirectory() as place:
        few_took, few_trained = _sweep(Path(place) / "few", FEW, tiny)
        many_took, many_trained = _sweep(Path(place) / "many", many, tiny)
    at_once = len(os.sched_getaffinity(0)) if overrides else 1
    return (many_took - few_took - (many_trained - few_trained) / at_once) / (many - FEW)


def _sweep(folder: Path, count: int, overrides: Sequence[str]) -> tuple[float, float]:
    """Sweep over seeds; return its seconds, and those of all its training; raise RnnstudyError if it fails."""
    seeds = ",".join(str(1000 * place) for place in range(count))
    command = [sys.executable, "-m", "rnnstudy", "train", "-m", f"seed={seeds}", f"output_dir='{folder}'", *overrides]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    taken = time.monotonic() - began
    if done.returncode != 0:
        raise RnnstudyError(f"a sweep of the benchmark failed: {done.stderr.strip()}")
    return taken, sum(json.loads(path.read_bytes())["wall_seconds"] for path in folder.glob("*/result.json"))
