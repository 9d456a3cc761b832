"""Chrono initialisation: biases that give gates time constants."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from rnnstudy.core.errors import require_size
from rnnstudy.inits.base import Fresh, Initialisation, set_bias
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence


@dataclass(frozen=True, kw_only=True)
class Chrono(Initialisation):
    """Effective biases of the gates such that the time constants of the units are uniform in [2, t_max].

    u is uniform in [1, t_max - 1]. LSTM: b_f = log u, b_i = -b_f, so sigmoid(b_f) + sigmoid(b_i) = 1. GRU: b_z = log u;
    torch's z is the share of the state kept. Keeping a share s gives the time constant 1 / (1 - s) = 1 + u.

    References:
        Tallec & Ollivier, Can recurrent neural networks warp time?, 2018 (arXiv:1804.11188), section 2 and equation 16;
        t_max there is 3T/2 for copying with a delay T, and T for adding over T steps.

    Args:
        t_max: Longest time constant, in time steps, at least 2; null is the length of the sequences.
    """

    changes: ClassVar[tuple[str, ...]] = ("bias_ih", "bias_hh")

    t_max: int | None = None

    def __post_init__(self) -> None:
        if self.t_max is not None:
            require_size("t_max", self.t_max, 2)

    @property
    @override
    def needs(self) -> str:
        return "gates, whose biases set time constants"

    @override
    def suits(self, cell: Recurrence) -> bool:
        return isinstance(cell, LSTMRecurrence | GRURecurrence)

    @override
    def start(self, fresh: Fresh, generator: torch.Generator) -> None:
        longest = max(2, self.t_max or fresh.seq_len)
        for layer in fresh.layers:
            size = layer["weight_hh"].shape[-1]
            uniform = torch.rand(size, generator=generator, dtype=layer["bias_ih"].dtype)
            kept = torch.log(1 + uniform * (longest - 2))
            set_bias(layer, slice(size, 2 * size), kept)
            if isinstance(fresh.cell, LSTMRecurrence):
                set_bias(layer, slice(0, size), -kept)
