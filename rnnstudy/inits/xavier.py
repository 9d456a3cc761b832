"""Glorot's initialisation."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from rnnstudy.core.errors import require_above, require_finite
from rnnstudy.inits.base import Fresh, Initialisation


@dataclass(frozen=True, kw_only=True)
class Xavier(Initialisation):
    """Uniform in ±gain sqrt(6 / (inputs + units)), every gate's block of the input and recurrent weights by itself.

    Biases stay as they are.

    References:
        Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010, equation 16.

    Args:
        gain: Factor of the bound, above 0.
    """

    changes: ClassVar[tuple[str, ...]] = ("weight_ih", "weight_hh")

    gain: float = 1.0

    def __post_init__(self) -> None:
        require_above("gain", self.gain, 0)
        require_finite("gain", self.gain)

    @override
    def start(self, fresh: Fresh, generator: torch.Generator) -> None:
        for name in self.changes:
            for block in fresh.blocks(name):
                torch.nn.init.xavier_uniform_(block, self.gain, generator=generator)
