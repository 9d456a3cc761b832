"""Extremes over every training step: what samples at intervals miss."""

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
    spiked: Bool[Tensor, " replica"]
    nonfinite: Bool[Tensor, " replica"]


class Extremes:
    """Extremes of each replica since the last log entry, and the first thing that was not finite since the start.

    All that enters them is computed on the device of the step. The host reads the flags that it needs in any case, to
    let the optimizer step, and no more.
    """

    def __init__(self, replicas: int, device: torch.device, factor: float = FACTOR) -> None:
        """Start before the first step; `factor` is that of `Spikes`."""
        self._spikes = Spikes(replicas, device, factor)
        lowest = torch.full((2, replicas), -torch.inf, dtype=torch.float64, device=device)
        self._largest = lowest
        self._counts = torch.zeros(2, replicas, dtype=torch.float64, device=device)
        self.first_nonfinite: list[Nonfinite | None] = [None] * replicas

    def see(self, result: StepResult, training: Bool[Tensor, " replica"]) -> Flags:
        """Take in a step, of the replicas that train, before the weights change."""
        trains = training.to(result.losses.device)
        spiked = self._spikes(result.raw_norm) & trains
        seen = torch.stack([result.raw_norm, result.losses.double()])
        finite = seen.isfinite()
        self._largest = torch.where(finite & trains, torch.maximum(self._largest, seen), self._largest)
        self._counts += torch.stack([spiked, result.clipped & trains])
        nonfinite = ~(finite.all(0) & result.finite_outputs) & trains
        may_step, spiked, nonfinite = torch.stack([result.may_step, spiked, nonfinite]).cpu()
        return Flags(may_step=may_step, spiked=spiked, nonfinite=nonfinite)

    def note_nonfinite(
        self, step: int, result: StepResult, names: Sequence[str], nonfinite: Bool[Tensor, " replica"]
    ) -> None:
        """Find what was not finite first, for replicas that were finite so far; `names` are those of the parameters."""
        for replica in nonfinite.nonzero().flatten().tolist():
            if self.first_nonfinite[replica] is None:
                self.first_nonfinite[replica] = _first(step, result, names, replica)

    def take(self, whose: Bool[Tensor, " replica"]) -> dict[str, Float[Tensor, " replica"]]:
        """Return the extremes of some replicas by tag, and begin anew for them; NaN for a largest of nothing finite."""
        norm, loss = self._largest.masked_fill(self._largest == -torch.inf, torch.nan)
        spikes, clipped = self._counts
        taken = {tags.LARGEST_NORM: norm, tags.LARGEST_LOSS: loss, tags.SPIKES: spikes, tags.CLIPPED_STEPS: clipped}
        begun = whose.to(norm.device)
        self._largest = self._largest.masked_fill(begun, -torch.inf)
        self._counts = self._counts.masked_fill(begun, 0)
        return taken

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {
            "spikes": self._spikes.state(),
            "largest": self._largest.clone(),
            "counts": self._counts.clone(),
            "first_nonfinite": [each and asdict(each) for each in self.first_nonfinite],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._spikes.load_state(state["spikes"])
        self._largest.copy_(state["largest"])
        self._counts.copy_(state["counts"])
        self.first_nonfinite = [each and Nonfinite(**each) for each in state["first_nonfinite"]]


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
