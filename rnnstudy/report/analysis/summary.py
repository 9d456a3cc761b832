"""A run, or runs that differ in the seed alone, reduced to the figures that tables, sentences and drawings use."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnnstudy.report.analysis.naming import NamedRun
from rnnstudy.report.analysis.pooling import Pool, pool_runs
from rnnstudy.report.analysis.statistics import median_steps, ordered_median
from rnnstudy.report.analysis.statistics import wilson_interval as wilson
from rnnstudy.runs import tags
from rnnstudy.runs.digest import PerReplica, top_track
from rnnstudy.runs.events import Event, Nonfinite
from rnnstudy.runs.failure import FAILED, PRUNED, read_failure
from rnnstudy.runs.logs import Track
from rnnstudy.runs.outcome import last_values
from rnnstudy.runs.run import Run, TaskFacts

_EVALUATED = (tags.LOSS, tags.ANSWER_LOSS, tags.ACCURACY)


@dataclass(frozen=True, kw_only=True)
class Logs:
    """Tracks of a run that figures draw; None for those that were not logged.

    Args:
        loss: Evaluation loss.
        accuracy: Evaluation accuracy, from 0 to 1.
        raw: Norm of the gradient with respect to all weights.
        clipped: The same norm as the optimizer gets it.
        train_loss: Training loss, mean since the last entry.
        largest_loss: Largest training loss since the last entry.
        largest_norm: Largest norm of the gradient with respect to all weights since the last entry.
        gradient: Norms over time steps of the gradient with respect to the top layer's hidden state.
        gain: Bound gamma * ||W_hh|| of the top layer.
        events: Steps that spiked.
        first_nonfinite: The first thing that was not finite, of each replica that has one.
    """

    loss: Track | None = None
    accuracy: Track | None = None
    raw: Track | None = None
    clipped: Track | None = None
    train_loss: Track | None = None
    largest_loss: Track | None = None
    largest_norm: Track | None = None
    gradient: Track | None = None
    gain: Track | None = None
    events: tuple[Event, ...] = ()
    first_nonfinite: tuple[Nonfinite | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A run in figures, detached from it; lists have one entry per replica, None for what was not logged.

    Args:
        name: Unique in the sweep, e.g. "lstm + clip_norm, lag=50".
        short: Model, initialisations and mitigations alone.
        model: Chosen member; empty if the config names none.
        mitigation: Chosen members joined by " + ", or "none".
        differing: Settings that differ between the runs of the sweep: dotted path to shown value.
        is_edited: Whether a mitigation changes the gradients on their way back, so that they are not the task's.
        labels: Path of each of its runs from the compared folder, for people: one, or several that differ in the seed
            alone.
        paths: Their folders.
        seeds: Seed of each replica, ascending.
        repeated: Replicas that were trained more than once, and count once.
        device: Device name, e.g. "cpu".
        fingerprint: Hash of what can change the figures; None in the folders of older versions.
        choices: Chosen members, by group.
        settings: All settings as text, by dotted path.
        facts: Facts of the task.
        state: Progress of an unfinished run, e.g. "stopped, step 700 of 2000"; empty for a finished one.
        wall_seconds: Duration; None for a run that has not ended.
        without_metrics: Labels of its runs whose log of scalars is missing or empty.
        without_curves: Labels of its runs whose log of curves over time steps is.
        status: "solved", "finished" without having solved the task, "diverged", or "unfinished" while it may yet.
        steps_to_solve: Optimizer steps; None where not solved.
        diverged_at: First optimizer step from which on a diverged replica was lost, or did not recover; None for the
            others, and where it is unknown.
        steps_run: Optimizer steps; None for a run that has not ended.
        loss: Last evaluation loss, which may be NaN. All last figures of a diverged replica are NaN, as it logged its
            last ones before; those of a replica that solved the task and stopped are of that moment.
        answer_loss: Last evaluation loss at the answer alone.
        accuracy: Last evaluation accuracy, from 0 to 1.
        elsewhere: Last figures of evaluations at other lengths, by length (time steps) and metric.
        skipped: Steps whose update was skipped; the log counts them from the start of the run.
        active: Fraction of steps at which each mitigation acted, mean of the log, by its name.
        largest_norm: Largest finite norm of the gradient with respect to all weights, over every step.
        largest_loss: Largest finite training loss, over every step.
        spikes: Steps at which that norm spiked.
        clipped: Steps at which a mitigation clipped.
        growth: log10 of the gradient norm at any lag over that at lag 0: the largest of all probes and events.
        ratio_first: log10 of the gradient norm at the earliest step with the information over that at the last step,
            first probe; None unless the gradient of the answer was recorded.
        ratio_last: Likewise at the last probe; NaN where the replica diverged.
        horizon: Largest lag, in time steps, to which the gradient of the top layer reaches, last logged; None unless
            that of the answer was recorded.
        decay: Powers of ten per time step by which that gradient changes on its way back, likewise.
        gain: Bound gamma * ||W_hh|| of the top layer, last logged; NaN where the replica diverged; empty without any.
        last_step: Optimizer steps done: of the whole run if it ended, else the last that was logged.
        logs: Tracks that figures draw; empty for a run that is not drawn.
    """

    name: str
    short: str
    model: str
    mitigation: str
    differing: dict[str, str]
    is_edited: bool
    labels: tuple[str, ...]
    paths: tuple[Path, ...]
    seeds: tuple[int, ...]
    repeated: int
    device: str
    fingerprint: str | None
    choices: dict[str, str]
    settings: dict[str, str]
    facts: TaskFacts
    state: str
    wall_seconds: float | None
    without_metrics: tuple[str, ...]
    without_curves: tuple[str, ...]
    status: tuple[str, ...]
    steps_to_solve: tuple[int | None, ...]
    diverged_at: tuple[int | None, ...]
    steps_run: int | None
    loss: PerReplica
    answer_loss: PerReplica
    accuracy: PerReplica
    elsewhere: dict[tuple[int, str], PerReplica]
    skipped: PerReplica
    active: dict[str, PerReplica]
    largest_norm: PerReplica
    largest_loss: PerReplica
    spikes: PerReplica
    clipped: PerReplica
    growth: PerReplica
    ratio_first: PerReplica
    ratio_last: PerReplica
    horizon: PerReplica
    decay: PerReplica
    gain: PerReplica
    last_step: int
    logs: Logs = Logs()

    @property
    def path(self) -> Path:
        """Folder of its first run."""
        return self.paths[0]

    @property
    def label(self) -> str:
        """Path of its first run from the compared folder, and how many more there are."""
        more = len(self.labels) - 1
        return self.labels[0] + (f" and {more} more" if more else "")

    @property
    def is_judged(self) -> bool:
        """Whether the task has a criterion of when it is solved."""
        return self.facts.criterion is not None

    @property
    def is_finished(self) -> bool:
        """Whether the run ended."""
        return self.steps_run is not None

    @property
    def replicas(self) -> int:
        """Networks in the run."""
        return len(self.status)

    @property
    def lag(self) -> int:
        """Time steps from the earliest one with the information to the last."""
        return self.facts.seq_len - 1 - self.facts.reference_step

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
        """Whether half or more of the replicas diverged, so that a median means nothing."""
        return 2 * self.diverged >= self.replicas

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval of the solved fraction."""
        return wilson(self.solved, self.replicas)

    @property
    def median_steps(self) -> float:
        """Median steps to solve; infinite when half or more of the replicas were not solved."""
        return median_steps(self.steps_to_solve)


def summarise(named: NamedRun, pool: Pool | None = None) -> Summary:
    """Return a run, or all runs of its pool, reduced to the figures of the table."""
    run = named.run
    pool = pool or pool_runs([run])[0]
    standings, unknown = [each.standing for each in pool.runs], (None,) * len(pool.taken)
    status = pool.pick([standing.status for standing in standings])
    final = {
        tag: _joined(pool, [each.final for each in standings], tag) for standing in standings for tag in standing.final
    }
    last = {tag: _without_lost(values, status) for tag, values in final.items()}
    reach = {measure: last.get(tag, unknown) for measure, tag in _reach_tags(run, final).items()}
    gain = tags.top(tags.GAIN_BOUND, final)
    active = [each.digest.active for each in pool.runs]
    results = [each.result for each in pool.runs if each.result]
    return Summary(
        name=named.name,
        short=named.short,
        model=named.model,
        mitigation=named.mitigation,
        differing=named.differing,
        is_edited=bool(run.edits_adjoints),
        labels=tuple(each.label for each in pool.runs),
        paths=tuple(each.path for each in pool.runs),
        seeds=pool.seeds,
        repeated=pool.repeated,
        device=run.device,
        fingerprint=run.fingerprint,
        choices=run.choices,
        settings=run.settings,
        facts=run.facts,
        state=_state(run),
        wall_seconds=sum(result.wall_seconds for result in results) if results else None,
        without_metrics=tuple(each.label for each in pool.runs if not _has_content(each.folder.metrics)),
        without_curves=tuple(each.label for each in pool.runs if not _has_content(each.folder.curves)),
        status=status,
        steps_to_solve=pool.pick([standing.steps_to_solve for standing in standings]),
        diverged_at=pool.pick([standing.diverged_at for standing in standings]),
        steps_run=max((result.steps for result in results), default=None),
        last_step=max(standing.last_step for standing in standings),
        loss=last.get(tags.LOSS, unknown),
        answer_loss=last.get(tags.ANSWER_LOSS, unknown),
        accuracy=last.get(tags.ACCURACY, unknown),
        elsewhere={
            (int(found["seq_len"]), found["metric"]): values
            for tag, values in last.items()
            if (found := tags.fields(tags.EVAL_AT, tag)) and tags.EVAL.format(metric=found["metric"]) in _EVALUATED
        },
        skipped=final.get(tags.SKIPPED, unknown),
        active={name: _joined(pool, active, name) for each in active for name in each},
        largest_norm=pool.join(lambda each: each.digest.largest_norm),
        largest_loss=pool.join(lambda each: each.digest.largest_loss),
        spikes=pool.join(lambda each: each.digest.spikes),
        clipped=pool.join(lambda each: each.digest.clipped),
        growth=pool.join(lambda each: each.digest.growth),
        ratio_first=pool.join(lambda each: each.digest.ratio_first),
        ratio_last=_without_lost(pool.join(lambda each: each.digest.ratio_last), status),
        horizon=reach.get("horizon", unknown),
        decay=reach.get("decay", unknown),
        gain=last[gain] if gain else (),
    )


def _joined(pool: Pool, values: Sequence[Mapping[str, PerReplica]], key: str) -> PerReplica:
    """Return an entry of each run's mapping for all networks; None where a run has no such entry."""
    none = [(None,) * run.replicas for run in pool.runs]
    return pool.pick([each.get(key, missing) for each, missing in zip(values, none, strict=True)])


def read_logs(pool: Pool) -> Logs:
    """Return the tracks of runs for figures; raise UnreadableRunError if their logs are corrupt, or an OSError."""
    metrics = [run.metrics for run in pool.runs]
    gain = tags.top(tags.GAIN_BOUND, [tag for each in metrics for tag in each])

    def scalars(tag: str) -> Track | None:
        return pool.track([each.get(tag) for each in metrics])

    return Logs(
        loss=scalars(tags.LOSS),
        accuracy=scalars(tags.ACCURACY),
        raw=scalars(tags.RAW_NORM),
        clipped=scalars(tags.CLIPPED_NORM),
        train_loss=scalars(tags.TRAIN_LOSS),
        largest_loss=scalars(tags.LARGEST_LOSS),
        largest_norm=scalars(tags.LARGEST_NORM),
        gradient=pool.track([top_track(run.curves) for run in pool.runs]),
        gain=scalars(gain) if gain else None,
        events=pool.events(),
        first_nonfinite=pool.pick([run.events.first_nonfinite or (None,) * run.replicas for run in pool.runs]),
    )


def figures_at(pool: Pool, step: int) -> dict[str, PerReplica]:
    """Return the last loss, horizon and decay that each replica had logged up to an optimizer step, by measure.

    They are read from the log. A replica that had diverged by the step has NaN, as its log goes no farther. A replica
    without logged figures has None.
    """
    states, found = zip(*(_figures_at(run, step) for run in pool.runs), strict=True)
    status = pool.pick(states)
    return {measure: _without_lost(pool.pick([each[measure] for each in found]), status) for measure in found[0]}


def _figures_at(run: Run, step: int) -> tuple[list[str], dict[str, PerReplica]]:
    """Return the status of the replicas, empty for those that logged more later, and their figures."""
    held = "metrics" in vars(run)
    tracks = run.metrics
    if not held:
        run.forget_logs()
    goes_on = np.zeros(run.replicas, dtype=bool)
    for track in tracks.values():
        goes_on |= track.logged[track.steps > step].any(axis=0)
    states = ["" if later else state for state, later in zip(run.standing.status, goes_on.tolist(), strict=True)]
    sources = {"loss": tags.LOSS} | _reach_tags(run, tracks)
    cut = {
        tag: Track(steps=track.steps[upto], values=track.values[upto], logged=track.logged[upto])
        for tag in sources.values()
        if (track := tracks.get(tag)) is not None and (upto := track.steps <= step).any()
    }
    last = last_values(cut, run.replicas)
    unknown = (None,) * run.replicas
    found = {measure: last.get(tag, unknown) for measure, tag in sources.items()}
    return states, dict.fromkeys(("loss", "horizon", "decay"), unknown) | found


def _reach_tags(run: Run, logged: Iterable[str]) -> dict[str, str]:
    """Return the tags of the top layer's horizon and decay; none where the gradient is not that of the answer."""
    names = list(logged) if run.facts.has_answer_gradient else []
    families = {"horizon": tags.HORIZON, "decay": tags.DECAY}
    return {measure: tag for measure, family in families.items() if (tag := tags.top(family, names, state="h"))}


def _state(run: Run) -> str:
    if run.result is not None:
        return ""
    failed = read_failure(run.folder)
    ended = failed.kind if failed is not None and failed.kind in {FAILED, PRUNED} else "stopped"
    planned = run.settings.get("train.num_steps")
    how_far = f"step {run.standing.last_step}{f' of {planned}' if planned else ''}"
    return f"{'running' if run.is_running else ended}, {how_far}"


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _without_lost(values: Sequence[float | None], status: Sequence[str]) -> tuple[float | None, ...]:
    """Return last figures with NaN for the replicas that diverged; all None if no replica logged any."""
    if all(value is None for value in values):
        return tuple(values)
    return tuple(math.nan if state == "diverged" else value for value, state in zip(values, status, strict=True))


def known(values: Sequence[float | None]) -> list[float]:
    """Return the logged values."""
    return [value for value in values if value is not None]


def largest(values: Sequence[float | None]) -> float | None:
    """Return the largest number; None without any."""
    return max((value for value in known(values) if not math.isnan(value)), default=None)


def median_ratio(values: Sequence[float | None]) -> float | None:
    """Return the median of log10 ratios; None if there are none."""
    found = known(values)
    return float(ordered_median(np.array(found), axis=0)) if found else None


def mean_active(summary: Summary) -> dict[str, float]:
    """Return the fraction of steps at which each mitigation acted, mean of the replicas, by its name."""
    return {name: float(np.mean(known(values))) for name, values in summary.active.items() if known(values)}
