"""`rnnstudy bench instruments`: what a measurement of each instrument costs, against the training step it looks at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from rnnstudy.bench.contestants import SIZES
from rnnstudy.bench.timing import Stopwatch
from rnnstudy.config.folder import conf_folder
from rnnstudy.config.schema import Plan
from rnnstudy.core.numerics import Numerics
from rnnstudy.gradients.norms import replica_norms
from rnnstudy.instruments.base import Instrument, Record, Update
from rnnstudy.runs.folder import write_figures
from rnnstudy.study.jobs.check import check
from rnnstudy.study.jobs.compose import first_job
from rnnstudy.study.run.assemble import assemble
from rnnstudy.tasks.coconut_water import CUE_STEP
from rnnstudy.training.data import TrainingData
from rnnstudy.training.step import TrainingStep

REPLICAS = 8
SIZE = "S2"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an instrument costs with a model.

    Args:
        instrument: Name of the instrument.
        model: Name of the model.
        tier: As the instrument states it.
        interval: Optimizer steps between two measurements, on average over a run, as its yaml has it.
        measure_ms: Milliseconds of a measurement.
        ratio: Over the time of a training step, median over rounds in which they took turns.
    """

    instrument: str
    model: str
    tier: str
    interval: int
    measure_ms: float
    ratio: float

    @property
    def share(self) -> float:
        """Of the time of all steps, at this interval."""
        return self.ratio / self.interval


def run(console: Console, models: Sequence[str], seconds: float, path: Path | None) -> None:
    """Measure every instrument, print the table and write it as JSON if a file is given."""
    with Numerics().applied():
        costs = [cost for model in models for cost in _measured(model, seconds)]
    table = Table(
        title=f"A measurement, in training steps of {REPLICAS} replicas at {SIZE}",
        caption="Below it: its share of all steps at the interval of its yaml.",
    )
    for header in ("instrument", "tier", "every"):
        table.add_column(header)
    for model in models:
        table.add_column(model, justify="right")
    for name in dict.fromkeys(cost.instrument for cost in costs):
        rows = {cost.model: cost for cost in costs if cost.instrument == name}
        first = next(iter(rows.values()))
        cells = [f"{rows[model].ratio:.2f}\n{rows[model].share:.2%}" for model in models]
        table.add_row(name, first.tier, str(first.interval), *cells)
    console.print(table)
    if path is not None:
        write_figures(path, [{**vars(cost), "share": cost.share} for cost in costs])


def _measured(model: str, seconds: float) -> list[Cost]:
    size = SIZES[SIZE]
    names = sorted(file.stem for file in (conf_folder() / "instrument").glob("*.yaml"))
    overrides = [
        "task=coconut_water",
        f"task.lag={size.seq_len - 1 - CUE_STEP}",
        f"model={model}",
        f"model.hidden_size={size.hidden_size}",
        f"model.embedding_size={size.input_size}",
        f"train.batch_size={size.batch_size}",
        f"replicas={REPLICAS}",
        f"instrument=[{','.join(names)}]",
    ]
    plan = check(first_job(overrides).config)
    bench = _Bench(plan)
    costs = []
    for name, instrument in zip(names, plan.instruments, strict=True):
        measured = sum(instrument.schedule.is_due(step) for step in range(plan.train.num_steps))
        watch = Stopwatch(device=torch.device("cpu"), seconds=seconds)
        timings = watch.measure({"step": bench.step, "measure": lambda each=instrument: bench.measure(each)})
        pairs = zip(timings["measure"].seconds, timings["step"].seconds, strict=True)
        ratios = sorted(one / other for one, other in pairs)
        costs.append(
            Cost(
                instrument=name,
                model=model,
                tier=instrument.tier,
                interval=plan.train.num_steps // measured,
                measure_ms=timings["measure"].median * 1e3,
                ratio=ratios[len(ratios) // 2],
            )
        )
    return costs


class _Bench:
    """A training step and what instruments see of it."""

    def __init__(self, plan: Plan) -> None:
        """Build the network and its data."""
        self._parts = assemble(plan, torch.device("cpu"))
        data = TrainingData(
            plan.task,
            plan.seq_lens,
            batch_size=plan.train.batch_size,
            seed=plan.run.seed,
            replicas=REPLICAS,
            device=torch.device("cpu"),
        )
        self._batch, self._probe = data.next(0), data.next(1)
        network = self._parts.network
        self._compute = TrainingStep(
            task=plan.task, network=network, mitigations=(), num_steps=1, seeds=range(REPLICAS)
        )
        self._result = self._compute(self._batch, 0, record=True)
        norms = replica_norms(self._compute.gradients().values())
        self._norms = norms

    def step(self) -> None:
        """A training step, every adjoint recorded."""
        self._compute(self._batch, 0, record=True)

    def measure(self, instrument: Instrument) -> None:
        """A measurement, and that of an update if the instrument looks at one."""
        network = self._parts.network
        record = Record(
            step=0,
            task=self._parts.task,
            network=network,
            batch=self._batch,
            adjoints=self._result.adjoints,
            probe=self._probe,
            raw_norm=self._norms,
            clipped_norm=self._norms,
        )
        instrument.measure(record)
        if instrument.sees_updates:
            before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
            instrument.measure_update(Update(network=network, before=before))
