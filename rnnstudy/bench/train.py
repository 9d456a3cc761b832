"""`rnnstudy bench train`: the time of a run by phase, on real runs with the default schedule."""

import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from rnnstudy.bench.baselines import REPLICAS, SIZE_NAME
from rnnstudy.bench.plans import measured_run
from rnnstudy.bench.results import new_table, print_and_write
from rnnstudy.runs.folder import RunFolder
from rnnstudy.study.sweep.train import train

PHASES = ("engine", "data", "mitigations", "optimizer", "instruments", "writers", "evaluation", "checkpoints")
"""Phases that a run counts; the rest of the wall time is called other."""


@dataclass(frozen=True, kw_only=True)
class TimeSplit:
    """Time of a run by phase.

    Args:
        model: Model of the run.
        steps: Optimizer steps.
        wall_seconds: Seconds of the whole run.
        phase_seconds: Seconds of its phases.
    """

    model: str
    steps: int
    wall_seconds: float
    phase_seconds: Mapping[str, float]

    def milliseconds(self, phase: str) -> float:
        """Return milliseconds per step: of a phase, of the wall time for "all", of its part in no phase for "other"."""
        whole = {"all": self.wall_seconds, "other": self.wall_seconds - sum(self.phase_seconds.values())}
        return {**self.phase_seconds, **whole}.get(phase, 0.0) / self.steps * 1e3

    def ratio(self) -> float:
        """Return the time of a training step over its engine part; a step excludes evaluation and checkpoints."""
        apart = self.milliseconds("evaluation") + self.milliseconds("checkpoints")
        return (self.milliseconds("all") - apart) / self.milliseconds("engine")

    def share(self, *phases: str) -> float:
        """Return the share of some phases in the wall time."""
        return sum(map(self.milliseconds, phases)) / self.milliseconds("all")


def measure_train(console: Console, *, models: Sequence[str], steps: int, path: Path | None) -> None:
    """Do a run for each model, print the split, and write it as JSON if a file is given."""
    splits = [_split(model, steps) for model in models]
    table = new_table(
        f"Milliseconds per training step of {REPLICAS} replicas at {SIZE_NAME}, and what it is over the engine's part",
        [""],
        models,
        "Coconut-water review, default instruments, run log and TensorBoard at the default schedule; "
        "below, shares of the wall time.",
    )
    for phase in (*PHASES, "other", "all"):
        table.add_row(phase, *(f"{split.milliseconds(phase):.2f}" for split in splits))
    table.add_row("step / engine", *(f"{split.ratio():.2f}" for split in splits))
    table.add_row("instruments", *(f"{split.share('instruments'):.1%}" for split in splits))
    table.add_row("with writers", *(f"{split.share('instruments', 'writers'):.1%}" for split in splits))
    print_and_write(console, table, [_record(split) for split in splits], path)


def _record(split: TimeSplit) -> dict[str, str | int | float]:
    milliseconds = {f"{phase}_ms": split.milliseconds(phase) for phase in (*PHASES, "other", "all")}
    shares = {
        "step_over_engine": split.ratio(),
        "instruments_share": split.share("instruments"),
        "observing_share": split.share("instruments", "writers"),
    }
    return {"model": split.model, "steps": split.steps, **milliseconds, **shares}


def _split(model: str, steps: int) -> TimeSplit:
    with tempfile.TemporaryDirectory() as place:
        lasting = [f"train.num_steps={steps}", "train.stop_when_solved=false", f"run_dir={place}/run"]
        train([*measured_run(model), *lasting], Console(file=io.StringIO()))
        result = json.loads(RunFolder(Path(place) / "run").result.read_text())
    seconds, phases = result["wall_seconds"], result["phase_seconds"]
    return TimeSplit(model=model, steps=steps, wall_seconds=seconds, phase_seconds=phases)
