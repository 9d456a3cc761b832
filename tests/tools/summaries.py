"""Summaries of runs on the disk, and of runs that never ran, for what is computed from summaries alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tools.synthetic_runs import Synthetic, write_run

from rnnstudy.core.criterion import Criterion
from rnnstudy.report.analysis.comparison import Comparison, compare_all
from rnnstudy.report.analysis.naming import name_runs
from rnnstudy.report.analysis.pooling import pool_runs
from rnnstudy.report.analysis.summary import Summary, read_logs, summarise
from rnnstudy.runs.collection import read_sweep
from rnnstudy.runs.run import TaskFacts

Values = Sequence[float | None]


def make_summary(
    label: str,
    *,
    seed: int = 0,
    steps: Sequence[int | None] = (),
    status: Sequence[str] = (),
    last_step: int = 1000,
    loss: Values = (),
    horizon: Values = (),
    decay: Values = (),
    ratio_first: Values = (),
    ratio_last: Values = (),
    growth: Values = (),
    largest_norm: Values = (),
    spikes: Values = (),
    diverged_at: Sequence[int | None] = (),
    settings: dict[str, str] | None = None,
    judged: bool = True,
    finished: bool = True,
) -> Summary:
    """Make up a run; what is left out was not logged, and as many replicas as the longest list."""
    lists = (steps, status, loss, horizon, decay, ratio_first, ratio_last, growth, largest_norm, spikes)
    replicas = max(map(len, lists))
    none = (None,) * replicas
    steps = tuple(steps) or none
    left = "finished" if finished else "unfinished"
    return Summary(
        name=label,
        short=label,
        model="lstm",
        mitigation=label,
        differing={"mitigation": label},
        is_edited=False,
        labels=(label,),
        paths=(Path(label),),
        seeds=tuple(range(seed, seed + replicas)),
        repeated=0,
        device="cpu",
        fingerprint=None,
        choices={},
        settings=settings or {},
        facts=TaskFacts(
            chance_loss=None,
            chance_accuracy=None,
            memoryless_loss=None,
            criterion=Criterion(metric="accuracy", threshold=0.99, direction="at_least") if judged else None,
            seq_len=20,
            informative_steps=(),
            loss_at_end=True,
        ),
        state="" if finished else "stopped",
        wall_seconds=None,
        without_metrics=(),
        without_curves=(),
        status=tuple(status) or tuple(left if taken is None else "solved" for taken in steps),
        steps_to_solve=tuple(steps),
        diverged_at=tuple(diverged_at) or none,
        steps_run=last_step if finished else None,
        loss=tuple(loss) or none,
        answer_loss=none,
        accuracy=none,
        elsewhere={},
        skipped=none,
        active={},
        largest_norm=tuple(largest_norm) or none,
        largest_loss=none,
        spikes=tuple(spikes) or none,
        clipped=none,
        growth=tuple(growth) or none,
        ratio_first=tuple(ratio_first) or none,
        ratio_last=tuple(ratio_last) or none,
        horizon=tuple(horizon) or none,
        decay=tuple(decay) or none,
        gain=(),
        last_step=last_step,
    )


def summaries_of(root: Path, *specs: Synthetic) -> list[Summary]:
    """Read, name and summarise all runs below a folder, with their logs; runs made up for it are written first."""
    for number, spec in enumerate(specs):
        write_run(root / f"run{number}", spec)
    named = name_runs(read_sweep(root).runs)
    return [replace(summarise(each), logs=read_logs(pool_runs([each.run])[0])) for each in named]


def compare_pairs(pairs: Sequence[tuple[Summary, Summary]], **options: Any) -> list[Comparison]:
    """Compare runs with their baselines; those that have not ended by the figures they have."""
    return compare_all(
        pairs,
        figures_at=lambda each, _: {"loss": each.loss, "horizon": each.horizon, "decay": each.decay},
        **options,
    )
