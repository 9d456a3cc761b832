"""The independently recurrent network."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from rnnstudy.core.errors import require_size
from rnnstudy.inits.base import Fresh
from rnnstudy.models.base import Layer, Model
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.indrnn import IndRNNRecurrence, Rectifier


@dataclass(frozen=True, kw_only=True)
class IndRNN(Model):
    """Every unit sees itself alone, its recurrent weight kept within ±2^(1/time_steps).

    Layers of `IndRNNRecurrence`. With relu, this bound lets a gradient at most double over `time_steps` time steps. The
    weights start uniform in [0, 2^(1/time_steps)]; every optimizer step ends with clipping them to the bound.

    References:
        Li, Li, Cook, Zhu & Gao, Independently recurrent neural network, 2018 (arXiv:1803.04831), section 4.1.

    Args:
        nonlinearity: Activation of the hidden state.
        time_steps: Time steps over which the gradient may double, at least 1; null is the length of the sequences.
    """

    set_by_model: ClassVar[tuple[str, ...]] = ("recurrent",)

    nonlinearity: Rectifier = "relu"
    time_steps: int | None = None

    def __post_init__(self) -> None:
        if self.time_steps is not None:
            require_size("time_steps", self.time_steps, 1)
        super().__post_init__()

    def bound(self, seq_len: int) -> float:
        """Return the largest size of a recurrent weight, for sequences of `seq_len` time steps."""
        return 2 ** (1 / (self.time_steps or seq_len))

    @override
    def recurrence(self) -> Recurrence:
        return IndRNNRecurrence(nonlinearity=self.nonlinearity)

    @override
    def start(self, fresh: Fresh, generator: torch.Generator) -> None:
        for layer in fresh.layers:
            layer["recurrent"].uniform_(0, self.bound(fresh.seq_len), generator=generator)

    @override
    def constrain(self, layer: Layer, seq_len: int) -> None:
        bound = self.bound(seq_len)
        layer.get_parameter("recurrent").clamp_(-bound, bound)
