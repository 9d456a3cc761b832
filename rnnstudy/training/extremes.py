"""Extremes over every training step: what samples at intervals miss."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnstudy.gradients.spikes import FACTOR, Spikes
from rnnstudy.recurrence.base import Adjoint, States
from rnnstudy.runs import tags
from rnnstudy.runs.events import Nonfinite
from rnnstudy.training.step import StepResult


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Facts about one step of every replica, on the CPU.

    Attributes:
        may_step: Whether it may take the step.
        spiked: Whether it trains and its gradient spiked.
        nonfinite: Whether it trains and output, loss or gradient were not finite.
    """

    may_step: Bool[Tensor, " replica"]
    spiked: list[bool]
    nonfinite: list[bool]


class Extremes:
    """Extremes of each replica since the last log entry, and the first thing that was not finite since the start.

    The host reads one small tensor a step, in place of the flags that it needs in any case to let the optimizer step;
    nothing else makes it wait for the device.
    """

    def __init__(self, replicas: int, factor: float = FACTOR) -> None:
        """Start before the first step; `factor` is that of `Spikes`."""
        self._spikes = Spikes(replicas, factor)
        self._since = [_Since() for _ in range(replicas)]
        self.first_nonfinite: list[Nonfinite | None] = [None] * replicas

    def see(self, result: StepResult, training: Bool[Tensor, " replica"]) -> Flags:
        """Take in a step, of the replicas that train, before the weights change."""
        norms, losses, clipped, outputs, may_step = _on_host(
            result.raw_norm, result.losses, result.clipped, result.finite_outputs, result.may_step
        )
        spiked, nonfinite = self._spikes(norms), [False] * len(norms)
        for replica, (trains, since) in enumerate(zip(training.tolist(), self._since, strict=True)):
            norm, loss = norms[replica], losses[replica]
            if not trains:
                spiked[replica] = False
                continue
            if math.isfinite(norm):
                since.largest_norm = max(since.largest_norm, norm)
            if math.isfinite(loss):
                since.largest_loss = max(since.largest_loss, loss)
            since.spikes += spiked[replica]
            since.clipped += bool(clipped[replica])
            nonfinite[replica] = not (math.isfinite(norm) and math.isfinite(loss) and outputs[replica])
        return Flags(may_step=torch.tensor(may_step) > 0, spiked=spiked, nonfinite=nonfinite)

    def note_nonfinite(self, step: int, result: StepResult, names: Sequence[str], nonfinite: list[bool]) -> None:
        """Find what was not finite first, for replicas that were finite so far; `names` are those of the parameters."""
        for replica, first in enumerate(self.first_nonfinite):
            if nonfinite[replica] and first is None:
                self.first_nonfinite[replica] = _first(step, result, names, replica)

    def take(self, whose: Bool[Tensor, " replica"]) -> dict[str, Float[Tensor, " replica"]]:
        """Return the extremes by tag, and begin anew for some replicas; NaN for the largest of nothing finite."""
        taken = {
            tag: torch.tensor([getattr(since, name) for since in self._since], dtype=torch.float64)
            for name, tag in _TAGS.items()
        }
        for replica in whose.nonzero().flatten().tolist():
            self._since[replica] = _Since()
        return {tag: values.masked_fill(values == -math.inf, math.nan) for tag, values in taken.items()}

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {
            "spikes": self._spikes.state(),
            "since": [asdict(since) for since in self._since],
            "first_nonfinite": [each and asdict(each) for each in self.first_nonfinite],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._spikes.load_state(state["spikes"])
        self._since = [_Since(**each) for each in state["since"]]
        self.first_nonfinite = [each and Nonfinite(**each) for each in state["first_nonfinite"]]


def _on_host(*figures: Float[Tensor, " replica"] | Bool[Tensor, " replica"]) -> list[list[float]]:
    """Return the figures as numbers, with one transfer from another device."""
    if figures[0].device.type == "cpu":
        return [each.tolist() for each in figures]
    return torch.stack([each.double() for each in figures]).tolist()


@dataclass(kw_only=True)
class _Since:
    """Extremes of one replica since its last log entry."""

    largest_norm: float = -math.inf
    largest_loss: float = -math.inf
    spikes: int = 0
    clipped: int = 0


_TAGS = {
    "largest_norm": tags.LARGEST_NORM,
    "largest_loss": tags.LARGEST_LOSS,
    "spikes": tags.SPIKES,
    "clipped": tags.CLIPPED_STEPS,
}


def _first(step: int, result: StepResult, names: Sequence[str], replica: int) -> Nonfinite:
    finite = result.raw_norms[:, replica].isfinite().tolist()
    if not result.finite_outputs[replica]:
        kind, (layer, time_step) = "output", _on_the_way_up(result.states, replica)
    elif not result.losses[replica].isfinite():
        kind, (layer, time_step) = "loss", _on_the_way_up(result.states, replica)
    else:
        kind, (layer, time_step) = "gradient", _on_the_way_back(result.adjoints, replica)
    bad = tuple(name for name, is_finite in zip(names, finite, strict=True) if not is_finite)
    return Nonfinite(step=step, kind=kind, parameters=bad, layer=layer, time_step=time_step)


def _on_the_way_up(states: Sequence[States], replica: int) -> tuple[int | None, int | None]:
    """Return the lowest layer with a state that is not finite, and the earliest such time step; None for neither."""
    for index, layer in enumerate(states):
        if steps := _odd_steps([state[:, replica] for state in layer]):
            return index, steps[0]
    return None, None


def _on_the_way_back(adjoints: Sequence[dict[str, Adjoint]], replica: int) -> tuple[int | None, int | None]:
    """Return the highest layer with an adjoint that is not finite, and the latest such time step; None for neither."""
    for index in reversed(range(len(adjoints))):
        if steps := _odd_steps([each.replica(replica).total for each in adjoints[index].values()]):
            return index, steps[-1]
    return None, None


def _odd_steps(tensors: Sequence[Tensor]) -> list[int]:
    """Return the time steps at which any entry of tensors `(time, ...)` is not finite, ascending."""
    odd = torch.stack([~tensor.isfinite().flatten(1).all(1) for tensor in tensors]).any(0)
    return odd.nonzero().flatten().tolist()
