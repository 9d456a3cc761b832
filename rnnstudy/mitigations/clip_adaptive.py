"""Clipping of gradients that are large beside their weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_limit
from rnnstudy.mitigations.base import Backward, Diagnostics, Mitigation
from rnnstudy.runs import tags
from rnnstudy.runs.tags import Meaning

SMALLEST = 1e-3
"""Least norm that a unit's weights count as having, so that weights that start at zero can grow."""


@dataclass(frozen=True, kw_only=True)
class ClipAdaptive(Mitigation):
    """Scale each unit's gradient down where its norm exceeds `ratio` times that of the unit's weights (AGC).

    A unit is a row of a weight matrix, or an entry of a vector; its weights' norm counts as at least 1e-3. All
    parameters take part. Logged, as means since the last log entry: `clip_adaptive/fraction`, the share of units
    clipped, and `clip_adaptive/active`, the fraction of steps that clipped any.

    References:
        Brock et al., 2021 (arXiv:2102.06171), section 4.1, equation 3; there the last layer does not take part, and the
        code takes a vector as one unit.

    Args:
        ratio: Largest norm of a gradient in terms of its weights' norm, above 0; inf is off.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "clip_adaptive/fraction": Meaning("Share of the units clipped, mean since the last entry.", "1"),
    }

    off: ClassVar[dict[str, float]] = {"ratio": inf}
    felt: ClassVar[dict[str, float]] = {"ratio": 1e-4}

    ratio: float = 0.01

    def __post_init__(self) -> None:
        require_limit("ratio", self.ratio)

    @override
    @torch.no_grad()
    def after_backward(self, backward: Backward) -> Diagnostics:
        if self.ratio == inf:
            return {}
        parameters = dict(backward.network.named_parameters())
        clipped, units = torch.zeros(backward.network.replicas, dtype=torch.float64), 0
        for name, gradient in backward.gradients.items():
            allowed = self.ratio * _unit_norms(parameters[name]).clamp(min=SMALLEST)
            factor = (allowed / _unit_norms(gradient)).clamp(max=1)
            clipped = clipped.to(factor.device) + (factor < 1).flatten(1).sum(1)
            units += factor[0].numel()
            gradient.mul_(factor.to(gradient.dtype))
        return {
            "clip_adaptive/fraction": clipped / units,
            tags.ACTIVE.format(mitigation="clip_adaptive"): (clipped > 0).double(),
        }


def _unit_norms(values: Tensor) -> Tensor:
    """Compute the norm of every row, or size of every entry of a vector, of (replica, ...), in float64."""
    if values.dim() < 3:
        return values.double().abs()
    return torch.linalg.vector_norm(values, dim=-1, keepdim=True, dtype=torch.float64)
