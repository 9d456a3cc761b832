"""A bias that makes gates remember."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from rnnstudy.core.errors import require_finite
from rnnstudy.inits.base import Fresh, Initialisation, set_bias
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence


@dataclass(frozen=True, kw_only=True)
class ForgetBias(Initialisation):
    """The effective bias (the sum of torch's two) of the gate that keeps the state: f of the LSTM, z of the GRU.

    References:
        Gers, Schmidhuber & Cummins, Learning to forget, 2000; Jozefowicz, Zaremba & Sutskever, An empirical exploration
        of recurrent network architectures, 2015: the value 1.

    Args:
        value: The bias; the larger, the longer the state is kept.
    """

    changes: ClassVar[tuple[str, ...]] = ("bias_ih", "bias_hh")
    replaces: ClassVar[bool] = False

    value: float = 1.0

    def __post_init__(self) -> None:
        require_finite("value", self.value)

    @property
    @override
    def needs(self) -> str:
        return "a gate that keeps the state"

    @override
    def suits(self, cell: Recurrence) -> bool:
        return isinstance(cell, LSTMRecurrence | GRURecurrence)

    @override
    def start(self, fresh: Fresh, generator: torch.Generator) -> None:
        for layer in fresh.layers:
            size = layer["weight_hh"].shape[-1]
            set_bias(layer, slice(size, 2 * size), self.value)
