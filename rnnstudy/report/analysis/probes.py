"""The gradient of a run's top layer before training, at its worst, and after training."""

import math
from dataclasses import dataclass

import numpy as np

from rnnstudy.report.analysis.summary import Summary
from rnnstudy.runs import tags


@dataclass(frozen=True, kw_only=True)
class Probes:
    """Norms of the gradient at every time step, one row per replica that has them; shape `(replica, time)`.

    Args:
        first: First probe.
        worst: Kept step with the largest finite norm of the weights' gradient, of a spike or just before one.
        last: Last probe, of the replicas that did not diverge.
    """

    first: np.ndarray
    worst: np.ndarray
    last: np.ndarray


def probes_of(summary: Summary) -> Probes:
    """Return the probes of a run, from its logs; arrays without rows where it has none."""
    curve, nothing = summary.logs.gradient, np.empty((0, summary.facts.seq_len))
    kept = survivors(summary)
    return Probes(
        first=nothing if curve is None else curve.first(),
        worst=_worst(summary),
        last=nothing if curve is None or not kept else curve.carried()[-1, kept],
    )


def survivors(summary: Summary) -> list[int]:
    """Return the replicas that logged gradients over time steps and did not diverge."""
    curve = summary.logs.gradient
    logged = [] if curve is None else curve.logged_replicas().tolist()
    return [replica for replica in logged if summary.status[replica] != "diverged"]


def _worst(summary: Summary) -> np.ndarray:
    seq_len = summary.facts.seq_len
    worst: dict[int, tuple[float, list[float]]] = {}
    for event in summary.logs.events:
        for step in event.steps:
            top = tags.top(tags.EVENT_NORM, step.norms, state="h", part="total")
            if top is None or len(step.norms[top]) != seq_len or not math.isfinite(step.raw_norm):
                continue
            if step.raw_norm > worst.get(event.replica, (-math.inf, []))[0]:
                worst[event.replica] = step.raw_norm, list(step.norms[top])
    return np.array([norms for _, norms in worst.values()]).reshape(-1, seq_len)
