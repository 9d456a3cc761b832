"""Clipping of the gradient's norm."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from typing_extensions import override

from rnnstudy.core.errors import require_limit
from rnnstudy.gradients.norms import replica_norms
from rnnstudy.mitigations.base import Backward, Diagnostics, Mitigation, scale_
from rnnstudy.runs import tags
from rnnstudy.runs.tags import Meaning

EPSILON = 1e-6
"""Added to the norm, as torch.nn.utils.clip_grad_norm_ does."""


@dataclass(frozen=True, kw_only=True)
class ClipNorm(Mitigation):
    """Scale the gradient of all parameters down to `max_norm` where its norm is larger.

    g <- g * min(1, max_norm / (||g|| + 1e-6)), the norm over all parameters of a replica, of the mean loss over the
    batch, in float64: torch.nn.utils.clip_grad_norm_ per replica. A gradient within the bound stays as it is.

    Logged, as means since the last log entry: `clip_norm/raw_norm` before and `clip_norm/clipped_norm` after,
    `clip_norm/coefficient` (1 where nothing was clipped) and `clip_norm/active`, the fraction of steps clipped.

    References:
        Pascanu, Mikolov & Bengio, 2013 (arXiv:1211.5063), algorithm 1, which has no epsilon.

    Args:
        max_norm: Largest norm that is left alone, above 0; inf is off.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "clip_norm/raw_norm": Meaning(
            "Norm of the gradient of all parameters before clipping, mean since the last entry.",
            "loss per unit of the weights",
        ),
        "clip_norm/clipped_norm": Meaning(
            "Norm of the gradient of all parameters after clipping, mean since the last entry.",
            "loss per unit of the weights",
        ),
    }

    off: ClassVar[dict[str, float]] = {"max_norm": inf}
    felt: ClassVar[dict[str, float]] = {"max_norm": 1e-3}
    coefficient: ClassVar[bool] = True

    max_norm: float = 1.0

    def __post_init__(self) -> None:
        require_limit("max_norm", self.max_norm)

    @override
    def after_backward(self, backward: Backward) -> Diagnostics:
        norm = replica_norms(backward.gradients.values())
        # Infinity over infinity is not a number.
        coefficient = (self.max_norm / (norm + EPSILON)).clamp(max=1) if self.max_norm < inf else torch.ones_like(norm)
        scale_(backward.gradients, coefficient)
        return {
            "clip_norm/raw_norm": norm,
            "clip_norm/clipped_norm": norm * coefficient,
            tags.CLIP_COEFFICIENT.format(mitigation="clip_norm"): coefficient,
            tags.ACTIVE.format(mitigation="clip_norm"): (coefficient < 1).to(norm.dtype),
        }
