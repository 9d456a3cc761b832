"""The vanilla recurrent network."""

from dataclasses import dataclass

from typing_extensions import override

from rnnstudy.models.base import Model
from rnnstudy.recurrence.activations import Nonlinearity
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.rnn import RNNRecurrence


@dataclass(frozen=True, kw_only=True)
class RNN(Model):
    """The vanilla network: h_t = f(W_ih x_t + W_hh h_{t-1} + b), f tanh, sigmoid, relu, identity or modReLU.

    Layers of `RNNRecurrence`, the network whose gradients vanish. With relu and the init `identity` it is the IRNN.

    Args:
        nonlinearity: Activation of the hidden state; identity is a linear network.
        layer_norm: Whether to normalise the pre-activations of each layer over its units.
    """

    nonlinearity: Nonlinearity = "tanh"
    layer_norm: bool = False

    @override
    def recurrence(self) -> Recurrence:
        return RNNRecurrence(nonlinearity=self.nonlinearity, layer_norm=self.layer_norm)
