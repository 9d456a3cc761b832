"""`rnnstudy bench tasks`: the cost of drawing a task's batches, against that of the training step that uses them."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console

from rnnstudy.bench.baselines import CELLS, CPU, REPLICAS, SIZE, SIZE_NAME, Workload
from rnnstudy.bench.plans import member_files, planned
from rnnstudy.bench.results import new_table, print_and_write
from rnnstudy.bench.timing import Stopwatch
from rnnstudy.core.errors import ConfigError
from rnnstudy.core.numerics import Numerics
from rnnstudy.tasks.base import Task
from rnnstudy.training.data import TrainingData

SENTENCE = "The quick brown fox jumps over the lazy dog, and packs its box with five dozen jugs. "
"""Sentence of the text that stands in for a user's."""


@dataclass(frozen=True, kw_only=True)
class TaskCost:
    """Cost of the batches of a task.

    Args:
        task: Name of the task.
        seq_len: Time steps: those of the size, or the task's own if it has a single length.
        data_ms: Milliseconds for a batch of all replicas.
        step_ms: Milliseconds of an LSTM's training step of all replicas, measured in turn with the batch.
        share: Time of a batch over that of a step, median over the rounds.
    """

    task: str
    seq_len: int
    data_ms: float
    step_ms: float
    share: float


def measure_tasks(console: Console, *, seconds: float, path: Path | None) -> None:
    """Measure every task, print the table, and write it as JSON if a file is given."""
    with Numerics().applied():
        costs = [_cost(name, task, seconds) for name, task in _tasks()]
    table = new_table(
        f"Milliseconds for a batch of {REPLICAS} replicas, {SIZE.batch_size} sequences each",
        ["task"],
        ["time steps", "batch", "LSTM step", "share of the step"],
        f"Against a training step of {REPLICAS} LSTMs at {SIZE_NAME}, every dL/dh_t recorded.",
    )
    for cost in costs:
        table.add_row(cost.task, str(cost.seq_len), f"{cost.data_ms:.2f}", f"{cost.step_ms:.1f}", f"{cost.share:.1%}")
    print_and_write(console, table, [vars(cost) for cost in costs], path)


def _tasks() -> Iterator[tuple[str, Task]]:
    """Yield name and task: each with sequences of the size's length if it can."""
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text(SENTENCE * 100)
        for file in member_files("task"):
            # A task that requires a file gets one.
            asks = yaml.safe_load(file.read_text()).get("path") == "???"
            task = planned(f"task={file.stem}", *([f"task.path={text}"] if asks else [])).task
            with contextlib.suppress(ConfigError):
                task = task.with_seq_len(SIZE.seq_len)
            yield file.stem, task


def _cost(name: str, task: Task, seconds: float) -> TaskCost:
    length = task.facts.seq_len
    data = TrainingData(task, (length, length), batch_size=SIZE.batch_size, seed=0, replicas=REPLICAS, device=CPU)
    ways = {"data": lambda: data.next(0), "step": Workload(cell=CELLS["lstm"]).ours()}
    timings = Stopwatch(device=CPU, seconds=seconds).measure(ways)
    return TaskCost(
        task=name,
        seq_len=length,
        data_ms=timings["data"].median * 1e3,
        step_ms=timings["step"].median * 1e3,
        share=timings["data"].over(timings["step"]),
    )
