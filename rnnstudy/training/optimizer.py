"""An optimizer of torch.optim over stacked replicas, each of which can sit out a step."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

ELEMENTWISE = frozenset({"SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam"})
"""Optimizers of torch.optim that treat every entry of a parameter by itself.

Only these keep stacked replicas independent. Others mix the entries of a tensor (Adafactor, Muon) or all parameters
(LBFGS), so that a replica's steps would depend on its neighbours.
"""


class ReplicaOptimizer:
    """Steps all replicas at once, and leaves alone those that sit out.

    What a replica that sits out keeps: its weights and its entries in the optimizer's state. What all share is a
    count of steps (Adam's bias correction), which counts skipped steps too; it depends on no neighbour.

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
        """Update the replicas that take part, from the parameters' `grad`.

        Args:
            taking_part: Which.
            factor: What to multiply the learning rate by in this step.
        """
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
                # What the optimizer has made in this very step starts from zero.
                tensor[out.to(tensor.device)] = kept.get(place, torch.zeros((), dtype=tensor.dtype))

    def _stacked(self) -> Iterator[tuple[tuple[int, str], Tensor]]:
        """Parameters, and what the optimizer keeps entry by entry, with their places."""
        for index, parameter in enumerate(self.parameters):
            yield (index, ""), parameter.detach()
            for name, value in self.optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    yield (index, name), value

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return self.optimizer.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.optimizer.load_state_dict(state)
