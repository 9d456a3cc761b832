"""The recurrent network whose recurrent weights stay orthogonal."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import orthogonal
from typing_extensions import override

from rnnstudy.inits.base import Fresh
from rnnstudy.models.base import Layer, Model
from rnnstudy.recurrence.activations import Nonlinearity
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.rnn import RNNRecurrence


@dataclass(frozen=True, kw_only=True)
class OrthogonalRNN(Model):
    """The vanilla recurrence with W_hh orthogonal throughout; modReLU unless another activation is asked for.

    By torch.nn.utils.parametrizations.orthogonal: W_hh starts as a random orthogonal matrix (Haar), a function of a
    learnt skew-symmetric one. Through W_hh the gradient keeps its norm; only the activation's derivative changes it.

    References:
        Lezcano-Casado & Martinez-Rubio, 2019 (arXiv:1901.08428): exponential or Cayley map, trivialised at the start.
        Arjovsky, Shah & Bengio, Unitary evolution recurrent neural networks, 2016 (arXiv:1511.06464): modReLU.

    Args:
        nonlinearity: Activation of the hidden state; identity is a linear network.
        orthogonal_map: Map from the skew-symmetric to the orthogonal matrix.
    """

    orthogonal: ClassVar[bool] = True
    set_by_model: ClassVar[tuple[str, ...]] = ("weight_hh",)

    nonlinearity: Nonlinearity = "modrelu"
    orthogonal_map: Literal["cayley", "matrix_exp"] = "cayley"

    @override
    def recurrence(self) -> Recurrence:
        return RNNRecurrence(nonlinearity=self.nonlinearity)

    @override
    def start(self, fresh: Fresh, generator: torch.Generator) -> None:
        for layer in fresh.layers:
            torch.nn.init.orthogonal_(layer["weight_hh"], generator=generator)

    @override
    def parametrise(self, layer: Layer) -> None:
        orthogonal(layer, "weight_hh", self.orthogonal_map)
        chain = layer.get_submodule("parametrizations.weight_hh")
        assert isinstance(chain, parametrize.ParametrizationList)
        chain.insert(0, _Bounded())


LARGEST = 1e5
"""Size of an entry of the skew-symmetric matrix beyond which neither map gives an orthogonal matrix in float32."""


class _Bounded(nn.Module):
    """Makes a diverged replica's matrix NaN: if one is singular, the Cayley map's solver raises for all replicas."""

    @override
    def forward(self, weight: Float[Tensor, "replica hidden hidden"]) -> Float[Tensor, "replica hidden hidden"]:
        whole = (weight.abs() <= LARGEST).flatten(1).all(1)
        return torch.where(whole[:, None, None], weight, torch.nan)
