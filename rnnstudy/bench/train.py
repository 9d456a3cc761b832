"""`rnnstudy bench train`: where the time of a run goes, on real runs with the default schedule."""

import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from rnnstudy.bench.contestants import SIZES
from rnnstudy.runs.folder import RunFolder, write_figures
from rnnstudy.study.sweep.train import train
from rnnstudy.tasks.coconut_water import CUE_STEP

PHASES = ("engine", "data", "mitigations", "optimizer", "instruments", "writers", "evaluation", "checkpoints")
"""As a run counts them; what is left of the wall time is called other."""

REPLICAS = 8


@dataclass(frozen=True, kw_only=True)
class Split:
    """Where the time of a run went.

    Args:
        model: Of the run.
        steps: Optimizer steps.
        wall_seconds: Of the whole run.
        phase_seconds: Of its phases.
    """

    model: str
    steps: int
    wall_seconds: float
    phase_seconds: Mapping[str, float]

    def milliseconds(self, phase: str) -> float:
        """Per step; of all phases together for "all", of what is in none for "other"."""
        if phase == "all":
            return self.wall_seconds / self.steps * 1e3
        if phase == "other":
            return (self.wall_seconds - sum(self.phase_seconds.values())) / self.steps * 1e3
        return self.phase_seconds.get(phase, 0.0) / self.steps * 1e3

    def ratio(self) -> float:
        """A training step over its engine part; evaluation and checkpoints are no part of a step."""
        apart = self.milliseconds("evaluation") + self.milliseconds("checkpoints")
        return (self.milliseconds("all") - apart) / self.milliseconds("engine")

    def share(self, *phases: str) -> float:
        """The share of some phases in the wall time."""
        return sum(map(self.milliseconds, phases)) / self.milliseconds("all")


def run(console: Console, models: Sequence[str], steps: int, path: Path | None) -> None:
    """Do a run for each model, print the split and write it as JSON if a file is given."""
    splits = [_measured(model, steps) for model in models]
    table = Table(
        title=f"Milliseconds per training step of {REPLICAS} replicas at S2, and what it is over the engine's part",
        caption="Coconut-water review, default instruments, run log and TensorBoard at the default schedule; "
        "below, shares of the wall time.",
    )
    table.add_column("")
    for split in splits:
        table.add_column(split.model, justify="right")
    for phase in (*PHASES, "other", "all"):
        table.add_row(phase, *(f"{split.milliseconds(phase):.2f}" for split in splits))
    table.add_row("step / engine", *(f"{split.ratio():.2f}" for split in splits))
    table.add_row("instruments", *(f"{split.share('instruments'):.1%}" for split in splits))
    table.add_row("with writers", *(f"{split.share('instruments', 'writers'):.1%}" for split in splits))
    console.print(table)
    if path is not None:
        write_figures(path, [_record(split) for split in splits])


def _record(split: Split) -> dict[str, str | int | float]:
    milliseconds = {f"{phase}_ms": split.milliseconds(phase) for phase in (*PHASES, "other", "all")}
    shares = {
        "step_over_engine": split.ratio(),
        "instruments_share": split.share("instruments"),
        "observing_share": split.share("instruments", "writers"),
    }
    return {"model": split.model, "steps": split.steps, **milliseconds, **shares}


def _measured(model: str, steps: int) -> Split:
    size = SIZES["S2"]
    with tempfile.TemporaryDirectory() as place:
        overrides = [
            "task=coconut_water",
            f"task.lag={size.seq_len - 1 - CUE_STEP}",
            f"model={model}",
            f"model.hidden_size={size.hidden_size}",
            f"model.embedding_size={size.input_size}",
            f"train.batch_size={size.batch_size}",
            f"train.num_steps={steps}",
            "train.stop_when_solved=false",
            f"replicas={REPLICAS}",
            f"run_dir={place}/run",
        ]
        train(overrides, Console(file=io.StringIO()))
        result = json.loads(RunFolder(Path(place) / "run").result.read_text())
    return Split(model=model, steps=steps, wall_seconds=result["wall_seconds"], phase_seconds=result["phase_seconds"])
