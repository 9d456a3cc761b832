"""Means over the steps since the last log entry."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Averages:
    """Running means per tag and replica, in float64 on the CPU."""

    def __init__(self, replicas: int) -> None:
        """Start without values."""
        self._sums: dict[str, Tensor] = {}
        self._counts = torch.zeros(replicas, dtype=torch.float64)

    @property
    def counted(self) -> Bool[Tensor, " replica"]:
        """Whether each replica had a step since the last `take`."""
        return self._counts > 0

    def add(self, values: Mapping[str, Float[Tensor, " replica"]], counted: Bool[Tensor, " replica"]) -> None:
        """Add one step's values of the replicas that count."""
        self._counts += counted
        for tag, value in values.items():
            previous = self._sums.get(tag, torch.zeros_like(self._counts))
            self._sums[tag] = previous + torch.where(counted, value.to("cpu", torch.float64), 0)

    def take(self, whose: Bool[Tensor, " replica"]) -> dict[str, Float[Tensor, " replica"]]:
        """Return the means and begin anew for some replicas; NaN for a replica without a step."""
        means = {tag: total / self._counts for tag, total in self._sums.items()}
        self._sums = {tag: total.masked_fill(whose, 0) for tag, total in self._sums.items()}
        self._counts = self._counts.masked_fill(whose, 0)
        return means

    def state(self) -> dict[str, Tensor]:
        """Return the state for a checkpoint."""
        return {"": self._counts.clone(), **{tag: total.clone() for tag, total in self._sums.items()}}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore the state from a checkpoint."""
        sums = dict(state)
        self._counts = sums.pop("")
        self._sums = sums
