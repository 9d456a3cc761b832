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
        last_step: Last optimizer step that is known to be done.
        final: Metric to last values; None where a replica has none.
    """

    status: tuple[str, ...]
    steps_to_solve: tuple[int | None, ...]
    last_step: int
    final: dict[str, PerReplica]


def last_values(metrics: Mapping[str, Track], replicas: int) -> dict[str, PerReplica]:
    """Return the last logged value of every tag and replica."""
    return {tag: per_replica(track, lambda values: values[-1], replicas=replicas) for tag, track in metrics.items()}


def standing_so_far(metrics: Mapping[str, Track], criterion: Criterion | None, replicas: int) -> Standing:
    """Return the standing of a run that has not ended, from its log.

    A replica has solved the task at the first evaluation that meets the criterion. One that has not, and that has no
    count of skipped steps at the last two steps at which others have one, stopped: it diverged.
    """
    solved: list[int | None] = [None] * replicas
    if criterion and (judged := metrics.get(tags.EVAL.format(metric=criterion.metric))):
        met = criterion.is_met({criterion.metric: judged.values})
        solved = [int(judged.steps[column.argmax()]) if column.any() else None for column in met.T]
    trained = metrics.get(tags.SKIPPED)
    silent = [False] * replicas
    if trained and len(trained.steps) > 2:
        silent = [not trained.logged[-2:, replica].any() for replica in range(replicas)]
    return Standing(
        status=tuple(
            "solved" if steps is not None else "diverged" if stopped else "unfinished"
            for steps, stopped in zip(solved, silent, strict=True)
        ),
        steps_to_solve=tuple(solved),
        last_step=max((int(track.steps[-1]) for track in metrics.values()), default=0),
        final=last_values(metrics, replicas),
    )
