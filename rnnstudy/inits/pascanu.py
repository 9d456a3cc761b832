"""The three initialisations of Pascanu, Mikolov and Bengio."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from rnnstudy.inits.base import Fresh, Initialisation, rescale, set_bias
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.rnn import RNNRecurrence

Variant = Literal["sigmoid", "basic_tanh", "smart_tanh"]

CONNECTIONS = 15
"""Units that each unit of a smart tanh network is connected to."""

RADIUS = 0.95
"""Spectral radius of its recurrent weights."""

STANDARD_DEVIATIONS: dict[Variant, float] = {"sigmoid": 0.01, "basic_tanh": 0.1, "smart_tanh": 0.01}
"""Standard deviations of input, recurrent and readout weights."""


@dataclass(frozen=True, kw_only=True)
class Pascanu(Initialisation):
    """All weights normal, biases 0: standard deviation 0.01 ("sigmoid", "smart_tanh") or 0.1 ("basic_tanh").

    "smart_tanh" also leaves every unit only 15 connections to units, and scales the recurrent weights to the spectral
    radius 0.95. Input, recurrent and readout weights are set.

    References:
        Pascanu, Mikolov & Bengio, 2013 (arXiv:1211.5063), section 4.1, and its code: 15 outgoing connections per unit,
        which are the columns of weight_hh here.

    Args:
        variant: Initialisation to use; it must fit the activation.
    """

    changes: ClassVar[tuple[str, ...]] = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

    variant: Variant = "smart_tanh"

    @property
    @override
    def needs(self) -> str:
        return f"the vanilla recurrence with the activation {self._activation} (variant={self.variant})"

    @property
    def _activation(self) -> str:
        return "sigmoid" if self.variant == "sigmoid" else "tanh"

    @override
    def suits(self, cell: Recurrence) -> bool:
        return isinstance(cell, RNNRecurrence) and cell.nonlinearity == self._activation

    @override
    def start(self, fresh: Fresh, generator: torch.Generator) -> None:
        deviation = STANDARD_DEVIATIONS[self.variant]
        for layer in fresh.layers:
            layer["weight_ih"].normal_(0, deviation, generator=generator)
            layer["weight_hh"].normal_(0, deviation, generator=generator)
            set_bias(layer, slice(None), 0.0)
            if self.variant == "smart_tanh":
                _thin_out(layer["weight_hh"], generator)
                rescale(layer["weight_hh"], RADIUS)
        fresh.readout_weight.normal_(0, deviation, generator=generator)
        fresh.readout_bias.zero_()


def _thin_out(weight_hh: Tensor, generator: torch.Generator) -> None:
    """Leave each unit only so many connections to units, at random."""
    for column in weight_hh.T:
        column[torch.randperm(len(column), generator=generator)[CONNECTIONS:]] = 0
