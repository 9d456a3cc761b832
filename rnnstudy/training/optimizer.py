"""Optimizers of torch.optim over stacked replicas, each of which can sit out a step."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

ELEMENTWISE = frozenset({"SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam"})
"""Optimizers of torch.optim that treat each entry of a parameter by itself, which keeps stacked replicas independent.

Others mix the entries of a tensor (Adafactor, Muon) or all parameters (LBFGS).
"""


class ReplicaOptimizer:
    """Optimizer that steps all replicas at once, except those that sit out.

    A replica that sits out keeps its weights and its entries in the optimizer's state. All replicas share a count of
    steps (Adam's bias correction), which includes skipped steps; it depends on no neighbour.

    Args:
        optimizer: One of ELEMENTWISE, over parameters whose first axis is the replica, all with one learning rate.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        """Wrap the optimizer."""
        self.optimizer = optimizer
        self.learning_rate: float = optimizer.param_groups[0]["lr"]

    @property
    def parameters(self) -> list[Tensor]:
        """All parameters, in the optimizer's order."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def step(self, taking_part: Bool[Tensor, " replica"], factor: float = 1.0) -> None:
        """Update the replicas that take part from the parameters' `grad`, with the learning rate times `factor`."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * factor
        if bool(taking_part.all()):
            self.optimizer.step()
            return
        out = ~taking_part
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad[out.to(parameter.device)] = 0
        kept = {place: tensor[out.to(tensor.device)].clone() for place, tensor in self._stacked()}
        self.optimizer.step()
        with torch.no_grad():
            for place, tensor in self._stacked():
                # State that the optimizer made in this very step starts from zero.
                tensor[out.to(tensor.device)] = kept.get(place, torch.zeros((), dtype=tensor.dtype))

    def _stacked(self) -> Iterator[tuple[tuple[int, str], Tensor]]:
        """Yield the parameters, and what the optimizer keeps entry by entry, with their places."""
        for index, parameter in enumerate(self.parameters):
            yield (index, ""), parameter.detach()
            for name, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    yield (index, name), value

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return self.optimizer.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.optimizer.load_state_dict(state)
