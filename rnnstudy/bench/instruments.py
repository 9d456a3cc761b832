"""`rnnstudy bench instruments`: the cost of each instrument's measurement, against that of the step it looks at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from rnnstudy.bench.baselines import CPU, REPLICAS, SIZE, SIZE_NAME
from rnnstudy.bench.plans import measured_run, member_files, planned
from rnnstudy.bench.results import new_table, print_and_write
from rnnstudy.bench.timing import Stopwatch
from rnnstudy.config.schema import Plan
from rnnstudy.core.numerics import Numerics
from rnnstudy.gradients.norms import replica_norms
from rnnstudy.instruments.base import Flown, Instrument, Record, Update
from rnnstudy.study.run.assemble import assemble
from rnnstudy.training.data import TrainingData
from rnnstudy.training.step import TrainingStep


@dataclass(frozen=True, kw_only=True)
class InstrumentCost:
    """Cost of an instrument with a model.

    Args:
        instrument: Name of the instrument.
        model: Name of the model.
        tier: Tier stated by the instrument.
        interval: Optimizer steps between two measurements, on average over a run, by its yaml.
        measure_ms: Milliseconds of a measurement.
        ratio: Ratio to the time of a training step, median over rounds in which they took turns.
    """

    instrument: str
    model: str
    tier: str
    interval: int
    measure_ms: float
    ratio: float

    @property
    def share(self) -> float:
        """Share in the time of all steps, at this interval."""
        return self.ratio / self.interval


def measure_instruments(console: Console, *, models: Sequence[str], seconds: float, path: Path | None) -> None:
    """Measure every instrument, print the table, and write it as JSON if a file is given."""
    with Numerics().applied():
        costs = [cost for model in models for cost in _costs(model, seconds)]
    table = new_table(
        f"A measurement, in training steps of {REPLICAS} replicas at {SIZE_NAME}",
        ["instrument", "tier", "every"],
        models,
        "Below it: its share of all steps at the interval of its yaml.",
    )
    for name in dict.fromkeys(cost.instrument for cost in costs):
        rows = {cost.model: cost for cost in costs if cost.instrument == name}
        first = next(iter(rows.values()))
        cells = [f"{rows[model].ratio:.2f}\n{rows[model].share:.2%}" for model in models]
        table.add_row(name, first.tier, str(first.interval), *cells)
    print_and_write(console, table, [{**vars(cost), "share": cost.share} for cost in costs], path)


def _costs(model: str, seconds: float) -> Iterator[InstrumentCost]:
    names = [file.stem for file in member_files("instrument")]
    plan = planned(*measured_run(model), f"instrument=[{','.join(names)}]")
    observed = _ObservedStep(plan)
    for name, instrument in zip(names, plan.instruments, strict=True):
        measured = sum(instrument.schedule.is_due(step) for step in range(plan.train.num_steps))
        ways = {"step": observed.take, "measure": lambda each=instrument: observed.measure(each)}
        timings = Stopwatch(device=CPU, seconds=seconds).measure(ways)
        yield InstrumentCost(
            instrument=name,
            model=model,
            tier=instrument.tier,
            interval=plan.train.num_steps // measured,
            measure_ms=timings["measure"].median * 1e3,
            ratio=timings["measure"].over(timings["step"]),
        )


class _ObservedStep:
    """A training step, and the view of it for instruments."""

    def __init__(self, plan: Plan) -> None:
        """Build the network and its data."""
        self._parts = assemble(plan, CPU)
        data = TrainingData(
            plan.task, plan.seq_lens, batch_size=SIZE.batch_size, seed=plan.run.seed, replicas=REPLICAS, device=CPU
        )
        self._batch, self._probe = data.next(0), data.next(1)
        self._compute = TrainingStep(
            task=plan.task, network=self._parts.network, mitigations=(), num_steps=1, seeds=range(REPLICAS)
        )
        self._result = self._compute(self._batch, 0)
        self._norms = replica_norms(self._compute.gradients().values())

    def take(self) -> None:
        """Take a training step that records every adjoint."""
        self._compute(self._batch, 0)

    def measure(self, instrument: Instrument) -> None:
        """Measure, and measure the update if the instrument looks at one."""
        network = self._parts.network
        gradients = self._compute.gradients() if instrument.needs_gradients else {}
        record = Record(
            step=0,
            task=self._parts.task,
            network=network,
            batch=self._batch,
            adjoints=self._result.adjoints,
            answer_adjoints=self._result.adjoints,
            probe=self._probe,
            raw_norm=self._norms,
            clipped_norm=self._norms,
            gradients={name: gradient.clone() for name, gradient in gradients.items()},
        )
        instrument.measure(record)
        states = sum(len(layer) for layer in self._result.adjoints)
        if watcher := instrument.watch(REPLICAS, states * self._result.states[0][0].nbytes, CPU):
            flown = Flown(
                step=0,
                losses=self._result.losses,
                raw_norm=self._norms,
                clipped_norm=self._norms,
                adjoints=self._result.adjoints,
                ends=None,
            )
            # The expensive case: every replica spikes.
            watcher.see(flown, [True] * REPLICAS, [False] * REPLICAS)
            watcher.settle()
        if instrument.sees_updates:
            before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
            instrument.measure_update(Update(network=network, before=before))
