"""Progress of a run: by its result or, without one, by its log so far."""

from collections.abc import Mapping
from dataclasses import dataclass

from rnnstudy.core.criterion import Criterion
from rnnstudy.runs import tags
from rnnstudy.runs.digest import PerReplica, per_replica
from rnnstudy.runs.logs import Track


@dataclass(frozen=True, kw_only=True)
class Standing:
    """State of a run's replicas; lists have one entry per replica.

    Args:
        status: "solved", "diverged", "finished" without having solved the task, or "unfinished" while it still may.
        steps_to_solve: Optimizer steps; None where not solved.
        diverged_at: First optimizer step from which on a diverged replica was lost; None for the others.
        last_step: Last optimizer step that is known to be done.
        final: Metric to last values; None where a replica has none.
    """

    status: tuple[str, ...]
    steps_to_solve: tuple[int | None, ...]
    diverged_at: tuple[int | None, ...]
    last_step: int
    final: dict[str, PerReplica]


def last_values(metrics: Mapping[str, Track], replicas: int) -> dict[str, PerReplica]:
    """Return the last logged value of every tag and replica."""
    return {tag: per_replica(track, lambda values: values[-1], replicas=replicas) for tag, track in metrics.items()}


def last_step(track: Track, replica: int) -> int:
    """Return the last step at which a replica logged a track; 0 without any."""
    return int(track.steps[track.logged[:, replica]].max(initial=0))


def standing_so_far(metrics: Mapping[str, Track], criterion: Criterion | None, replicas: int) -> Standing:
    """Return the standing of a run that has not ended, from its log.

    A replica has solved the task at the first evaluation that meets the criterion, by the figures logged to judge it if
    there are any. One that was given up says so in its last entry. In the logs of older versions it has no count of
    skipped steps at the last two steps at which others have one.
    """
    solved: list[int | None] = [None] * replicas
    metric = criterion.metric if criterion else ""
    judged = metrics.get(tags.JUDGED.format(metric=metric)) or metrics.get(tags.EVAL.format(metric=metric))
    if criterion and judged:
        met = criterion.is_met({criterion.metric: judged.values})
        solved = [int(judged.steps[column.argmax()]) if column.any() else None for column in met.T]
    lost, given_up = metrics.get(tags.SKIPPED), [False] * replicas
    if told := metrics.get(tags.DIVERGED):
        lost, given_up = told, [bool(told.of_replica(replica)[-1:].any()) for replica in range(replicas)]
    elif lost and len(lost.steps) > 2:
        given_up = [not lost.logged[-2:, replica].any() for replica in range(replicas)]
    diverged = [each and steps is None for each, steps in zip(given_up, solved, strict=True)]
    return Standing(
        status=tuple(
            "solved" if steps is not None else "diverged" if stopped else "unfinished"
            for steps, stopped in zip(solved, diverged, strict=True)
        ),
        steps_to_solve=tuple(solved),
        diverged_at=tuple(lost and last_step(lost, r) if stopped else None for r, stopped in enumerate(diverged)),
        last_step=max((int(track.steps[-1]) for track in metrics.values()), default=0),
        final=last_values(metrics, replicas),
    )
