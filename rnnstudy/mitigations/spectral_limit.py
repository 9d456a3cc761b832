"""Recurrent weights kept under a spectral norm."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, require_limit
from rnnstudy.mitigations.base import Mitigation
from rnnstudy.models.base import Model, Network


@dataclass(frozen=True, kw_only=True)
class SpectralLimit(Mitigation):
    """Scale recurrent weights down to the spectral norm `limit` where theirs is larger, every gate's block by itself.

    Done before training and after every optimizer step. With tanh or relu and a limit of at most 1 the gradient of a
    vanilla network cannot explode: the product of Jacobians has a norm of at most limit^lag.

    References:
        Pascanu, Mikolov & Bengio, 2013 (arXiv:1211.5063), section 2.1: the largest singular value bounds the Jacobian.

    Args:
        limit: Largest singular value, above 0; inf is off.
    """

    off: ClassVar[dict[str, float]] = {"limit": inf}
    felt: ClassVar[dict[str, float]] = {"limit": 0.1}

    limit: float = 1.0

    def __post_init__(self) -> None:
        require_limit("limit", self.limit)

    @override
    def require_suits(self, model: Model) -> None:
        cell = model.recurrence()
        if not any(name in MATRICES for name in cell.shapes(2, 2)) or "weight_hh" in model.set_by_model:
            raise ConfigError("it needs recurrent matrices that are free parameters.")

    @override
    def prepare(self, network: Network) -> None:
        self.after_update(network, torch.ones(network.replicas, dtype=torch.bool))

    @override
    @torch.no_grad()
    def after_update(self, network: Network, updated: Bool[Tensor, " replica"]) -> None:
        if self.limit == inf:
            return
        for layer in network.recurrent_layers:
            gates = layer.recurrence.gates
            for name in MATRICES:
                if name in layer.names:
                    _limit(layer.get_parameter(name), gates, self.limit, updated)


MATRICES = ("weight_hh", "weight_skip")
"""Names of the matrices that multiply states."""


def _limit(
    weight: Float[Tensor, "replica rows hidden"], gates: int, limit: float, updated: Bool[Tensor, " replica"]
) -> None:
    blocks = weight.unflatten(1, (gates, -1))
    whole = blocks.isfinite().flatten(1).all(1)
    largest = torch.linalg.matrix_norm(torch.where(whole[:, None, None, None], blocks, 0).double(), ord=2)
    factor = (limit / largest).clamp(max=1)
    factor[~updated.to(weight.device)] = 1
    blocks.mul_(factor.to(weight.dtype)[..., None, None])
