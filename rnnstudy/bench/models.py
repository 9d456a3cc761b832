"""`rnnstudy bench models`: a training step of every model, beside that of the vanilla network of the same size."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from rich.console import Console
from rich.table import Table

from rnnstudy.bench.contestants import CELLS, SIZES, Problem
from rnnstudy.bench.timing import Stopwatch
from rnnstudy.config.folder import conf_folder
from rnnstudy.core.numerics import Numerics
from rnnstudy.models.base import Model
from rnnstudy.runs.folder import write_figures
from rnnstudy.study.jobs.check import check
from rnnstudy.study.jobs.compose import first_job

REPLICAS = 8
SIZE = "S2"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a training step of a model costs.

    Args:
        model: Name of the model, and what is set of it.
        parameters: Of one replica's recurrent layer.
        step_ms: Milliseconds of a step of all replicas, every dL/dh_t recorded.
        ratio: Over the time of the vanilla network, median over rounds in which they took turns.
    """

    model: str
    parameters: int
    step_ms: float
    ratio: float


def run(console: Console, seconds: float, path: Path | None) -> None:
    """Measure every model, print the table and write it as JSON if a file is given."""
    size = SIZES[SIZE]
    with Numerics().applied():
        costs = [_measured(name, model, seconds) for name, model in _models(size.hidden_size)]
    table = Table(
        title=f"A training step of {REPLICAS} replicas of each model at {SIZE}, one layer",
        caption="Every dL/dh_t recorded; the vanilla network is measured in turn with each.",
    )
    table.add_column("model")
    for header in ("parameters", "step, ms", "over rnn"):
        table.add_column(header, justify="right")
    for cost in costs:
        table.add_row(cost.model, str(cost.parameters), f"{cost.step_ms:.1f}", f"{cost.ratio:.2f}")
    console.print(table)
    if path is not None:
        write_figures(path, [vars(cost) for cost in costs])


def _models(hidden_size: int) -> Iterator[tuple[str, Model]]:
    """Every model with its default settings and one layer, and those that can with layer normalisation.

    Yields:
        Name and model.
    """
    for file in sorted((conf_folder() / "model").glob("*.yaml")):
        common = [f"model={file.stem}", f"model.hidden_size={hidden_size}", "model.num_layers=1"]
        variants = [[]]
        if "layer_norm" in yaml.safe_load(file.read_text()):
            variants.append(["model.layer_norm=true"])
        for variant in variants:
            model = check(first_job([*common, *variant]).config).model
            yield " ".join([file.stem, *(each.removeprefix("model.") for each in variant)]), model


def _measured(name: str, model: Model, seconds: float) -> Cost:
    size = SIZES[SIZE]
    problem = Problem(cell=CELLS["rnn"], size=size, replicas=REPLICAS, device=torch.device("cpu"))
    timings = Stopwatch(device=problem.device, seconds=seconds).measure(
        {
            "rnn": problem.ours(),
            "model": problem.of(model),
        }
    )
    pairs = zip(timings["model"].seconds, timings["rnn"].seconds, strict=True)
    ratios = sorted(one / other for one, other in pairs)
    shapes = model.recurrence().shapes(size.input_size, size.hidden_size).values()
    return Cost(
        model=name,
        parameters=sum(torch.Size(shape).numel() for shape in shapes),
        step_ms=timings["model"].median * 1e3,
        ratio=ratios[len(ratios) // 2],
    )
