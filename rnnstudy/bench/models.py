"""`rnnstudy bench models`: a training step of every model, beside that of the vanilla network of the same size."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from rich.console import Console

from rnnstudy.bench.baselines import CELLS, REPLICAS, SIZE, SIZE_NAME, Workload
from rnnstudy.bench.plans import member_files, planned
from rnnstudy.bench.results import new_table, print_and_write
from rnnstudy.bench.timing import Stopwatch
from rnnstudy.core.numerics import Numerics
from rnnstudy.models.base import Model


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """Cost of a training step of a model.

    Args:
        model: Name of the model, with its settings.
        parameters: Number of parameters of one replica's recurrent layer.
        step_ms: Milliseconds of a step of all replicas, every dL/dh_t recorded.
        ratio: Ratio to the time of the vanilla network, median over rounds in which they took turns.
    """

    model: str
    parameters: int
    step_ms: float
    ratio: float


def measure_models(console: Console, *, seconds: float, path: Path | None) -> None:
    """Measure every model, print the table, and write it as JSON if a file is given."""
    with Numerics().applied():
        costs = [_cost(name, model, seconds) for name, model in _models()]
    table = new_table(
        f"A training step of {REPLICAS} replicas of each model at {SIZE_NAME}, one layer",
        ["model"],
        ["parameters", "step, ms", "over rnn"],
        "Every dL/dh_t recorded; the vanilla network is measured in turn with each.",
    )
    for cost in costs:
        table.add_row(cost.model, str(cost.parameters), f"{cost.step_ms:.1f}", f"{cost.ratio:.2f}")
    print_and_write(console, table, [vars(cost) for cost in costs], path)


def _models() -> Iterator[tuple[str, Model]]:
    """Yield name and model: each with default settings and one layer, and also with layer normalisation if it can."""
    for file in member_files("model"):
        settings = [f"model={file.stem}", f"model.hidden_size={SIZE.hidden_size}", "model.num_layers=1"]
        yield file.stem, planned(*settings).model
        if "layer_norm" in yaml.safe_load(file.read_text()):
            yield f"{file.stem} layer_norm=true", planned(*settings, "model.layer_norm=true").model


def _cost(name: str, model: Model, seconds: float) -> ModelCost:
    problem = Workload(cell=CELLS["rnn"])
    ways = {"rnn": problem.ours(), "model": problem.of(model)}
    timings = Stopwatch(device=problem.device, seconds=seconds).measure(ways)
    shapes = model.recurrence().shapes(SIZE.input_size, SIZE.hidden_size).values()
    return ModelCost(
        model=name,
        parameters=sum(torch.Size(shape).numel() for shape in shapes),
        step_ms=timings["model"].median * 1e3,
        ratio=timings["model"].over(timings["rnn"]),
    )
