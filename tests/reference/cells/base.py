"""Parts that the plain twins of the cells share."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from rnnstudy.recurrence.base import States

Params = Mapping[str, Tensor]
"""The weights of one replica by name."""

Visit = Callable[[str, Tensor], Tensor]
"""Called with the name and value of a new state; the step goes on with what it returns."""

Cell = Callable[[Tensor, States, Params, Visit], States]
"""One step of one replica: input (batch, input) and states (batch, hidden) to the next states."""


def modrelu(value: Tensor, threshold: Tensor) -> Tensor:
    """sign(a) max(0, |a| + threshold)."""
    return value.sign() * torch.relu(value.abs() + threshold)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "identity": lambda value: value,
}
"""The activations without weights."""


def normalised(value: Tensor, gain: Tensor) -> Tensor:
    """Layer normalisation over the units, times its gain."""
    return functional.layer_norm(value, value.shape[-1:], eps=1e-5) * gain


def preactivations(x: Tensor, h: Tensor, params: Params, gates: int) -> Sequence[Tensor]:
    """What every gate's activation is applied to."""
    sums = (x @ params["weight_ih"].T + h @ params["weight_hh"].T).chunk(gates, -1)
    if "gain" in params:
        sums = [normalised(each, gain) for each, gain in zip(sums, params["gain"].chunk(gates), strict=True)]
    biases = (params["bias_ih"] + params["bias_hh"]).chunk(gates)
    return [each + bias for each, bias in zip(sums, biases, strict=True)]
