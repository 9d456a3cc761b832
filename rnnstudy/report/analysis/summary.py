"""A run reduced to the figures that tables, sentences and comparisons are made of."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rnnstudy.report.analysis.naming import Entry
from rnnstudy.report.analysis.statistics import median_steps, ordered_median
from rnnstudy.report.analysis.statistics import wilson_interval as wilson
from rnnstudy.runs import tags
from rnnstudy.runs.failure import FAILED, PRUNED, read_failure
from rnnstudy.runs.logs import Track
from rnnstudy.runs.outcome import last_values

_EVALUATED = (tags.LOSS, tags.ANSWER_LOSS, tags.ACCURACY)


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A run in figures; lists have one entry per replica, None is for what was not logged.

    Args:
        entry: The named run.
        status: "solved", "finished" without having solved the task, "diverged", or "unfinished" while it may yet.
        steps_to_solve: Optimizer steps; None where not solved.
        steps_run: Optimizer steps; None for a run that has not ended.
        loss: Last evaluation loss; NaN where that is what it was. Of a replica that diverged it is NaN, and so are
            all last figures that others have: what it logged last is from before. One that stopped for having solved
            the task has those of that moment.
        answer_loss: Last evaluation loss at the answer alone.
        accuracy: Last evaluation accuracy, from 0 to 1.
        elsewhere: The last figures of evaluations at other lengths, by length (time steps) and metric.
        skipped: Steps whose update was skipped; the log counts them from the start of the run.
        active: Fraction of steps at which each mitigation acted, mean of the log, by its name.
        ratio_first: log10 of the gradient norm at the earliest step with the information over that at the last step,
            first probe; None where the loss is not at the last step alone.
        ratio_last: Likewise at the last probe; NaN where the replica diverged.
        horizon: Largest lag, in time steps, to which the gradient of the top layer reaches, last logged; None where
            the loss is not at the last step alone.
        decay: Powers of ten per time step by which that gradient changes on its way back, likewise.
        last_step: Optimizer steps done: of the whole run if it ended, else the last that was logged.
    """

    entry: Entry
    status: tuple[str, ...]
    steps_to_solve: tuple[int | None, ...]
    steps_run: int | None
    loss: tuple[float | None, ...]
    answer_loss: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    elsewhere: dict[tuple[int, str], tuple[float | None, ...]]
    skipped: tuple[float | None, ...]
    active: dict[str, tuple[float | None, ...]]
    ratio_first: tuple[float | None, ...]
    ratio_last: tuple[float | None, ...]
    horizon: tuple[float | None, ...]
    decay: tuple[float | None, ...]
    last_step: int

    @property
    def is_judged(self) -> bool:
        """Whether anybody has said when the task is solved."""
        return self.entry.run.facts.criterion is not None

    @property
    def is_finished(self) -> bool:
        """Whether the run ended."""
        return self.steps_run is not None

    @property
    def state(self) -> str:
        """How far a run is that has not finished, e.g. "stopped, step 700 of 2000"; empty for one that has."""
        if self.is_finished:
            return ""
        failed = read_failure(self.entry.run.folder)
        ended = failed.kind if failed is not None and failed.kind in {FAILED, PRUNED} else "stopped"
        state = "running" if self.entry.run.is_running else ended
        planned = self.entry.run.settings.get("train.num_steps")
        return f"{state}, step {self.last_step}{f' of {planned}' if planned else ''}"

    @property
    def replicas(self) -> int:
        """Networks in the run."""
        return len(self.status)

    @property
    def solved(self) -> int:
        """Replicas that solved the task."""
        return self.status.count("solved")

    @property
    def diverged(self) -> int:
        """Replicas that diverged."""
        return self.status.count("diverged")

    @property
    def is_lost(self) -> bool:
        """Whether half or more of the replicas diverged, so that a median is of nothing."""
        return 2 * self.diverged >= self.replicas

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of the solved fraction."""
        return wilson(self.solved, self.replicas)

    @property
    def median_steps(self) -> float:
        """Median steps to solve; infinite when half or more of the replicas were not solved."""
        return median_steps(self.steps_to_solve)


def figures_at(summary: Summary, step: int) -> dict[str, tuple[float | None, ...]]:
    """Return loss, horizon and decay as they were at a step: the last that each replica had logged up to there.

    Read from the log. A replica that had diverged by then has NaN: it is one whose log goes no farther.

    Args:
        summary: The run.
        step: Optimizer steps.

    Returns:
        By measure; None where a replica had not logged any.
    """
    run = summary.entry.run
    held = "metrics" in vars(run)
    tracks = run.metrics
    if not held:
        run.forget_logs()
    goes_on = np.zeros(run.replicas, dtype=bool)
    for track in tracks.values():
        goes_on |= track.logged[track.steps > step].any(axis=0)
    states = [
        "diverged" if status == "diverged" and not later else ""
        for status, later in zip(summary.status, goes_on.tolist(), strict=True)
    ]
    sources = {"loss": tags.LOSS}
    if run.facts.loss_at_end:
        sources |= _reach_tags(tracks)
    cut = {
        tag: Track(steps=track.steps[upto], values=track.values[upto], logged=track.logged[upto])
        for tag in sources.values()
        if (track := tracks.get(tag)) is not None and (upto := track.steps <= step).any()
    }
    last = last_values(cut, run.replicas)
    unknown = (None,) * run.replicas
    return dict.fromkeys(("loss", "horizon", "decay"), unknown) | {
        measure: _without_lost(last.get(tag, unknown), states) for measure, tag in sources.items()
    }


def summarise(entry: Entry) -> Summary:
    """Return a run reduced to the figures of the table."""
    run, standing, digest = entry.run, entry.run.standing, entry.run.digest
    unknown = (None,) * run.replicas
    last = {tag: _without_lost(values, standing.status) for tag, values in standing.final.items()}
    reach = _reach_tags(last) if run.facts.loss_at_end else {"horizon": "", "decay": ""}
    return Summary(
        entry=entry,
        status=standing.status,
        steps_to_solve=standing.steps_to_solve,
        steps_run=run.result.steps if run.result else None,
        last_step=standing.last_step,
        loss=last.get(tags.LOSS, unknown),
        answer_loss=last.get(tags.ANSWER_LOSS, unknown),
        accuracy=last.get(tags.ACCURACY, unknown),
        elsewhere={
            (int(found["seq_len"]), found["metric"]): values
            for tag, values in last.items()
            if (found := tags.fields(tags.EVAL_AT, tag)) and tags.EVAL.format(metric=found["metric"]) in _EVALUATED
        },
        skipped=standing.final.get(tags.SKIPPED, unknown),
        active=digest.active,
        ratio_first=digest.ratio_first,
        ratio_last=_without_lost(digest.ratio_last, standing.status),
        horizon=last.get(reach["horizon"], unknown),
        decay=last.get(reach["decay"], unknown),
    )


def _reach_tags(logged: Iterable[str]) -> dict[str, str]:
    """Return the tags of horizon and decay of the top layer's output; empty where they were not logged."""
    names = list(logged)
    families = {"horizon": tags.HORIZON, "decay": tags.DECAY}
    return {measure: tags.top(family, names, state="h") or "" for measure, family in families.items()}


def _without_lost(values: Sequence[float | None], status: Sequence[str]) -> tuple[float | None, ...]:
    """Return last figures with NaN for the replicas that diverged; all None if nobody logged any."""
    if all(value is None for value in values):
        return tuple(values)
    return tuple(math.nan if state == "diverged" else value for value, state in zip(values, status, strict=True))


def known(values: Sequence[float | None]) -> list[float]:
    """Return what was logged."""
    return [value for value in values if value is not None]


def median_ratio(values: Sequence[float | None]) -> float | None:
    """Return the median of log10 ratios; None if there are none."""
    found = known(values)
    return float(ordered_median(np.array(found), axis=0)) if found else None


def mean_active(summary: Summary) -> dict[str, float]:
    """Return the fraction of steps at which each mitigation acted, mean of the replicas, by its name."""
    return {name: float(np.mean(known(values))) for name, values in summary.active.items() if known(values)}
