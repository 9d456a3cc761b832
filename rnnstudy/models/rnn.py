"""The vanilla recurrent network."""

from dataclasses import dataclass

from typing_extensions import override

from rnnstudy.models.base import Model
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.rnn import Nonlinearity, RNNRecurrence


@dataclass(frozen=True, kw_only=True)
class RNN(Model):
    """Layers of `RNNRecurrence`, the network whose gradients vanish.

    Args:
        nonlinearity: Activation of the hidden state.
    """

    nonlinearity: Nonlinearity = "tanh"

    @override
    def recurrence(self) -> Recurrence:
        return RNNRecurrence(nonlinearity=self.nonlinearity)
