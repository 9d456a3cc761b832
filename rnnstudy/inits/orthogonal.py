"""Orthogonal recurrent weights to start with."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from rnnstudy.core.errors import require_above, require_finite
from rnnstudy.inits.base import Fresh, Initialisation


@dataclass(frozen=True, kw_only=True)
class Orthogonal(Initialisation):
    """Recurrent weights: `gain` times a random orthogonal matrix (Haar), one for every gate.

    They stay so only at the start; the model orthogonal_rnn keeps them orthogonal.

    References:
        Saxe, McClelland & Ganguli, 2014 (arXiv:1312.6120), for deep linear networks.

    Args:
        gain: All singular values of each block, above 0.
    """

    changes: ClassVar[tuple[str, ...]] = ("weight_hh",)

    gain: float = 1.0

    def __post_init__(self) -> None:
        require_above("gain", self.gain, 0)
        require_finite("gain", self.gain)

    @override
    def start(self, fresh: Fresh, generator: torch.Generator) -> None:
        for block in fresh.blocks("weight_hh"):
            torch.nn.init.orthogonal_(block, self.gain, generator=generator)
