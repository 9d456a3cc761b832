"""A run's logs in a few numbers for tables, so that a finished run need not be read whole again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnstudy.runs import tags
from rnnstudy.runs.events import Events
from rnnstudy.runs.fields import Fields, UnreadableRunError, is_number
from rnnstudy.runs.logs import Track

PerReplica = tuple[float | None, ...]
"""Figure of each replica; None where it was not logged."""


@dataclass(frozen=True, kw_only=True)
class Digest:
    """Figures of a run's logs.

    Args:
        active: Fraction of steps at which each mitigation acted, mean of the log, by its name.
        ratio_first: log10 of the gradient norm at the earliest step with the information over that at the last step,
            first probe; None where the gradient of the answer was not recorded.
        ratio_last: Likewise at the last probe.
        growth: log10 of the gradient norm at any lag over that at lag 0: the largest of all probes and events.
        largest_norm: Largest finite norm of the weights' gradient before the mitigations, over every training step.
        largest_loss: Largest finite loss on a training batch, over every step.
        spikes: Steps at which that norm spiked.
        clipped: Steps at which a mitigation clipped.
        dead_from: Step of the first evaluation or probe from which on a replica that exploded never recovered: its loss
            is above 1000 times that of chance, and was not at first; or the gradient is exactly zero at every lag but
            0, and was not before a spike. None for the others.
    """

    active: dict[str, PerReplica]
    ratio_first: PerReplica
    ratio_last: PerReplica
    growth: PerReplica
    largest_norm: PerReplica
    largest_loss: PerReplica
    spikes: PerReplica
    clipped: PerReplica
    dead_from: PerReplica

    def to_json(self) -> dict[str, Any]:
        """Return the content of result.json's `digest`."""
        return {_KEYS.get(name, name): value for name, value in vars(self).items()}


_KEYS = {"ratio_first": "log10_ratio_first", "ratio_last": "log10_ratio_last", "growth": "log10_growth"}
"""Keys of the file that are not the name of the field."""

DEAD = 1000.0
"""Multiple of the chance loss above which a loss that does not return makes a replica dead."""


def make_digest(
    metrics: Mapping[str, Track],
    curves: Mapping[str, Track],
    events: Events,
    *,
    replicas: int,
    step: int | None,
    chance_loss: float | None,
) -> Digest:
    """Return the figures of logs; `step` is the time step that the gradient must reach, None for no ratios."""
    curve = top_track(curves)

    def ratios(probe: int) -> PerReplica:
        if curve is None or step is None:
            return (None,) * replicas
        reached = min(step, curve.values.shape[2] - 1)
        return per_replica(curve, lambda norms: vanishing_ratios(norms, reached)[probe], replicas=replicas)

    return Digest(
        active={
            found["mitigation"]: per_replica(track, _mean, replicas=replicas)
            for tag, track in metrics.items()
            if (found := tags.fields(tags.ACTIVE, tag))
        },
        ratio_first=ratios(0),
        ratio_last=ratios(-1),
        growth=_growth(curve if step is not None else None, events, replicas),
        **{
            name: per_replica(metrics[tag], reduce, replicas=replicas) if tag in metrics else (None,) * replicas
            for name, (tag, reduce) in _EXTREMES.items()
        },
        dead_from=tuple(_dead_from(metrics, curve, chance_loss, replica) for replica in range(replicas)),
    )


def _largest(values: np.ndarray) -> np.floating:
    """Return the largest number; NaN without any."""
    return np.fmax.reduce(values)


_EXTREMES = {
    "largest_norm": (tags.LARGEST_NORM, _largest),
    "largest_loss": (tags.LARGEST_LOSS, _largest),
    "spikes": (tags.SPIKES, np.sum),
    "clipped": (tags.CLIPPED_STEPS, np.sum),
}
"""Fields that summarise what is logged of every step: tag and reduction."""


def _growth(curve: Track | None, events: Events, replicas: int) -> PerReplica:
    found: list[list[float]] = [[] for _ in range(replicas)]
    if curve is not None:
        found = [growths(curve.of_replica(replica)).tolist() for replica in range(replicas)]
    for event in events.events:
        for step in event.steps:
            if top := tags.top(tags.EVENT_NORM, step.norms, state="h", part="total"):
                found[event.replica] += growths(np.array([step.norms[top]])).tolist()
    known = [[value for value in values if not np.isnan(value)] for values in found]
    return tuple(max(values, default=None) for values in known)


def growths(norms: np.ndarray) -> np.ndarray:
    """Return log10 of the largest of the norms `(..., time)` over the last; NaN where one is NaN or the last zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        grown = np.log10(norms.max(axis=-1)) - np.log10(norms[..., -1])
    return np.where(norms[..., -1] > 0, grown, np.nan)


def _dead_from(
    metrics: Mapping[str, Track], curve: Track | None, chance_loss: float | None, replica: int
) -> float | None:
    loss = metrics.get(tags.ANSWER_LOSS, metrics.get(tags.LOSS))
    if loss is not None and chance_loss:
        values, steps = loss.of_replica(replica), loss.steps[loss.logged[:, replica]]
        if (start := _last_streak(~(values <= DEAD * chance_loss))) is not None:
            return float(steps[start])
    spikes = metrics.get(tags.SPIKES)
    if curve is not None and spikes is not None and curve.values.shape[2] > 1:
        values, steps = curve.of_replica(replica), curve.steps[curve.logged[:, replica]]
        if (start := _last_streak((values[:, :-1] == 0).all(-1))) is not None:
            # An entry counts the spikes up to its step.
            since = (spikes.steps > steps[start - 1]) & spikes.logged[:, replica]
            upto = spikes.steps <= spikes.steps[np.searchsorted(spikes.steps, steps[start]).clip(max=len(since) - 1)]
            if spikes.values[since & upto, replica].sum() > 0:
                return float(steps[start])
    return None


def _last_streak(holds: np.ndarray) -> int | None:
    """Return where the streak begins with which an array ends; None if there is none, or it is the whole array."""
    if not holds.size or not holds[-1] or holds.all():
        return None
    return int(np.flatnonzero(~holds)[-1]) + 1


def _mean(values: np.ndarray) -> np.floating:
    """Return the mean without the NaN; NaN if nothing is left."""
    numbers = values[~np.isnan(values)]
    return numbers.mean() if numbers.size else np.float64(np.nan)


def read_digest(fields: Fields, replicas: int) -> Digest:
    """Return the digest in result.json; raise UnreadableRunError if it is malformed."""
    active = fields.nested("active")
    # Older versions had the ratios alone.
    old = {_KEYS.get(name, name): [None] * replicas for name in Digest.__dataclass_fields__}
    known = Fields(old | fields.content, fields.source)
    names = [name for name in Digest.__dataclass_fields__ if name != "active"]
    return Digest(
        active={str(name): read_per_replica(active, name, replicas) for name in active.content},
        **{name: read_per_replica(known, _KEYS.get(name, name), replicas) for name in names},
    )


def read_per_replica(fields: Fields, key: str, replicas: int) -> PerReplica:
    """Return a list with a number or null per replica; raise UnreadableRunError for anything else."""
    values = fields.items(key, length=replicas)
    if not all(value is None or is_number(value) for value in values):
        raise UnreadableRunError(f"{fields.source}: '{key}' must be numbers or null")
    return tuple(None if value is None else float(value) for value in values)


def per_replica(track: Track, reduce: Callable[[np.ndarray], np.floating], *, replicas: int) -> PerReplica:
    """Return the reduction of each replica's values; None for one that logged none."""
    logged = [track.of_replica(replica) for replica in range(replicas)]
    return tuple(float(reduce(values)) if values.size else None for values in logged)


def top_track(curves: Mapping[str, Track]) -> Track | None:
    """Return the gradient norms over time steps of the top layer's h, of the answer if logged; None without any."""
    found = (tags.top(tags.HIDDEN_GRAD_NORM, curves, state="h", part=part) for part in ("answer", "total"))
    return next((curves[tag] for tag in found if tag is not None), None)


def vanishing_ratios(norms: np.ndarray, step: int) -> np.ndarray:
    """Return `log10(norms[:, step] / norms[:, -1])` of norms `(replica, time)`; `-inf` where the former is zero.

    NaN where one of them is NaN, both are zero, or the latter is infinite: nothing then says that the former is small.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log10(norms[:, step]) - np.log10(norms[:, -1])
    return np.where(np.isinf(norms[:, -1]), np.nan, ratios)
