"""The LSTM network."""

from dataclasses import dataclass

from typing_extensions import override

from rnnstudy.models.base import Model
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence


@dataclass(frozen=True, kw_only=True)
class LSTM(Model):
    """Layers of `LSTMRecurrence`."""

    @override
    def recurrence(self) -> Recurrence:
        return LSTMRecurrence()
