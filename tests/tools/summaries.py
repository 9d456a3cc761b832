"""Summaries of runs that never ran, for what is computed from summaries alone."""

from collections.abc import Sequence
from pathlib import Path

from rnnstudy.core.criterion import Criterion
from rnnstudy.report.analysis.naming import Entry
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.run import Run, TaskFacts

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
    judged: bool = True,
    finished: bool = True,
) -> Summary:
    """Make up a run; what is left out was not logged, and as many replicas as the longest list."""
    replicas = max(len(values) for values in (steps, loss, horizon, decay))
    none = (None,) * replicas
    steps = tuple(steps) or none
    left = "finished" if finished else "unfinished"
    run = Run(
        folder=RunFolder(Path(label)),
        label=label,
        config={},
        replicas=replicas,
        seed=seed,
        device="cpu",
        fingerprint=None,
        facts=TaskFacts(
            chance_loss=None,
            chance_accuracy=None,
            memoryless_loss=None,
            criterion=Criterion(metric="accuracy", threshold=0.99, direction="at_least") if judged else None,
            seq_len=20,
            informative_steps=(),
            loss_at_end=True,
        ),
        result=None,
    )
    return Summary(
        entry=Entry(run=run, name=label, short=label, model="lstm", mitigation=label, settings={"mitigation": label}),
        status=tuple(status) or tuple(left if taken is None else "solved" for taken in steps),
        steps_to_solve=tuple(steps),
        steps_run=last_step if finished else None,
        loss=tuple(loss) or none,
        answer_loss=none,
        accuracy=none,
        elsewhere={},
        skipped=none,
        active={},
        ratio_first=none,
        ratio_last=none,
        horizon=tuple(horizon) or none,
        decay=tuple(decay) or none,
        last_step=last_step,
    )
