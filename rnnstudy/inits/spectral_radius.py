"""Recurrent weights of a given spectral radius to start with."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from rnnstudy.core.errors import require_above, require_finite
from rnnstudy.inits.base import Fresh, Initialisation, rescale


@dataclass(frozen=True, kw_only=True)
class SpectralRadius(Initialisation):
    """Scale the recurrent weights, every gate's block by itself, so that the largest |eigenvalue| is `radius`.

    Acts on the weights as torch draws them, or as an earlier initialisation has set them.

    References:
        Jaeger, The "echo state" approach to analysing and training recurrent neural networks, 2001, for reservoirs.

    Args:
        radius: Spectral radius, above 0.
    """

    changes: ClassVar[tuple[str, ...]] = ("weight_hh",)
    replaces: ClassVar[bool] = False

    radius: float = 1.0

    def __post_init__(self) -> None:
        require_above("radius", self.radius, 0)
        require_finite("radius", self.radius)

    @override
    def start(self, fresh: Fresh, generator: torch.Generator) -> None:
        for block in fresh.blocks("weight_hh"):
            rescale(block, self.radius)
