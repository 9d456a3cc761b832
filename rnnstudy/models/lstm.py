"""The LSTM network."""

from dataclasses import dataclass

from typing_extensions import override

from rnnstudy.models.base import Model
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence


@dataclass(frozen=True, kw_only=True)
class LSTM(Model):
    """Long short-term memory, as in `torch.nn`: layers of `LSTMRecurrence`.

    Args:
        layer_norm: Whether to normalise the pre-activations of each gate over the units.
    """

    layer_norm: bool = False

    @override
    def recurrence(self) -> Recurrence:
        return LSTMRecurrence(layer_norm=self.layer_norm)
