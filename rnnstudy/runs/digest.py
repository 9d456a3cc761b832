"""A run's logs in a few numbers for tables, so that a finished run need not be read whole again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnstudy.runs import tags
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
    """

    active: dict[str, PerReplica]
    ratio_first: PerReplica
    ratio_last: PerReplica

    def to_json(self) -> dict[str, Any]:
        """Return the content of result.json's `digest`."""
        return {"active": self.active, "log10_ratio_first": self.ratio_first, "log10_ratio_last": self.ratio_last}


def make_digest(
    metrics: Mapping[str, Track], curves: Mapping[str, Track], *, replicas: int, step: int | None
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
    )


def _mean(values: np.ndarray) -> np.floating:
    """Return the mean without the NaN; NaN if nothing is left."""
    numbers = values[~np.isnan(values)]
    return numbers.mean() if numbers.size else np.float64(np.nan)


def read_digest(fields: Fields, replicas: int) -> Digest:
    """Return the digest in result.json; raise UnreadableRunError if it is malformed."""
    active = fields.nested("active")
    return Digest(
        active={str(name): read_per_replica(active, name, replicas) for name in active.content},
        ratio_first=read_per_replica(fields, "log10_ratio_first", replicas),
        ratio_last=read_per_replica(fields, "log10_ratio_last", replicas),
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
    """Return `log10(norms[:, step] / norms[:, -1])` of norms `(replica, time)`; `-inf` where the former is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(norms[:, step]) - np.log10(norms[:, -1])
