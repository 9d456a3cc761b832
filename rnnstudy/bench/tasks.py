"""`rnnstudy bench tasks`: what drawing the batches of a task costs, against the training step that uses them."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from rich.console import Console
from rich.table import Table

from rnnstudy.bench.contestants import CELLS, SIZES, Problem
from rnnstudy.bench.timing import Stopwatch
from rnnstudy.config.folder import conf_folder
from rnnstudy.core.errors import ConfigError
from rnnstudy.core.numerics import Numerics
from rnnstudy.runs.folder import write_figures
from rnnstudy.study.jobs.check import check
from rnnstudy.study.jobs.compose import first_job
from rnnstudy.tasks.base import Task
from rnnstudy.training.data import TrainingData

REPLICAS = 8
SIZE = "S2"

SENTENCE = "The quick brown fox jumps over the lazy dog, and packs its box with five dozen jugs. "
"""What the text is made of that stands in for one of the user's."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the batches of a task cost.

    Args:
        task: Name of the task.
        seq_len: Time steps: those of the size, or the task's own where it has but one length.
        data_ms: Milliseconds for a batch of all replicas.
        step_ms: Milliseconds of an LSTM's training step of all replicas, measured in turn with it.
        share: Median over the rounds of the one over the other.
    """

    task: str
    seq_len: int
    data_ms: float
    step_ms: float
    share: float


def run(console: Console, seconds: float, path: Path | None) -> None:
    """Measure every task, print the table and write it as JSON if a file is given."""
    size = SIZES[SIZE]
    with Numerics().applied():
        costs = [_measured(name, task, seconds) for name, task in _tasks(size.seq_len)]
    table = Table(
        title=f"Milliseconds for a batch of {REPLICAS} replicas, {size.batch_size} sequences each",
        caption=f"Against a training step of {REPLICAS} LSTMs at {SIZE}, every dL/dh_t recorded.",
    )
    table.add_column("task")
    for header in ("time steps", "batch", "LSTM step", "share of the step"):
        table.add_column(header, justify="right")
    for cost in costs:
        table.add_row(cost.task, str(cost.seq_len), f"{cost.data_ms:.2f}", f"{cost.step_ms:.1f}", f"{cost.share:.1%}")
    console.print(table)
    if path is not None:
        write_figures(path, [vars(cost) for cost in costs])


def _tasks(seq_len: int) -> Iterator[tuple[str, Task]]:
    """Every task, with sequences of this length if it can.

    Yields:
        Name and task.
    """
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text(SENTENCE * 100)
        for file in sorted((conf_folder() / "task").glob("*.yaml")):
            overrides = [f"task={file.stem}"]
            # A task that asks its user for a file gets one.
            overrides += [f"task.path={text}"] if yaml.safe_load(file.read_text()).get("path") == "???" else []
            task = check(first_job(overrides).config).task
            with contextlib.suppress(ConfigError):
                task = task.with_seq_len(seq_len)
            yield file.stem, task


def _measured(name: str, task: Task, seconds: float) -> Cost:
    size, device = SIZES[SIZE], torch.device("cpu")
    length = task.facts.seq_len
    data = TrainingData(task, (length, length), batch_size=size.batch_size, seed=0, replicas=REPLICAS, device=device)
    step: Callable[[], None] = Problem(cell=CELLS["lstm"], size=size, replicas=REPLICAS, device=device).ours()
    ways: dict[str, Callable[[], None]] = {"data": lambda: _discard(data), "step": step}
    timings = Stopwatch(device=device, seconds=seconds).measure(ways)
    pairs = zip(timings["data"].seconds, timings["step"].seconds, strict=True)
    shares = sorted(one / other for one, other in pairs)
    return Cost(
        task=name,
        seq_len=length,
        data_ms=timings["data"].median * 1e3,
        step_ms=timings["step"].median * 1e3,
        share=shares[len(shares) // 2],
    )


def _discard(data: TrainingData) -> None:
    data.next(0)
