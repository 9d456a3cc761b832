"""The antisymmetric recurrent network."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize
from typing_extensions import override

from rnnstudy.core.errors import require_above, require_at_least, require_finite
from rnnstudy.models.base import Layer, Model
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.residual import ResidualRecurrence


@dataclass(frozen=True, kw_only=True)
class AntisymmetricRNN(Model):
    """h_t = h_{t-1} + step_size * tanh(W_ih x_t + b_ih + (W - W^T - diffusion I) h_{t-1} + b_hh).

    An Euler step of a differential equation whose Jacobian has eigenvalues with real parts near zero.

    References:
        Chang et al., 2019 (arXiv:1902.09689), equation 13, ungated; W, there upper triangular, gives the same W - W^T.

    Args:
        step_size: Step size of the Euler step, above 0.
        diffusion: Subtracted from the diagonal, at least 0; keeps the Euler steps stable.
    """

    set_by_model: ClassVar[tuple[str, ...]] = ("weight_hh",)

    step_size: float = 0.1
    diffusion: float = 0.01

    def __post_init__(self) -> None:
        require_above("step_size", self.step_size, 0)
        require_at_least("diffusion", self.diffusion, 0)
        require_finite("step_size", self.step_size)
        require_finite("diffusion", self.diffusion)
        super().__post_init__()

    @override
    def recurrence(self) -> Recurrence:
        return ResidualRecurrence(variant="residual", rate=self.step_size)

    @override
    def parametrise(self, layer: Layer) -> None:
        parametrize.register_parametrization(layer, "weight_hh", _Antisymmetric(self.diffusion))


class _Antisymmetric(nn.Module):
    def __init__(self, diffusion: float) -> None:
        super().__init__()
        self._diffusion = diffusion

    @override
    def forward(self, weight: Float[Tensor, "replica hidden hidden"]) -> Float[Tensor, "replica hidden hidden"]:
        identity = torch.eye(weight.shape[-1], dtype=weight.dtype, device=weight.device)
        return weight - weight.transpose(1, 2) - self._diffusion * identity
