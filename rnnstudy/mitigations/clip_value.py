"""Clipping of the gradient's entries."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from typing_extensions import override

from rnnstudy.core.errors import require_limit
from rnnstudy.gradients.norms import replica_norms
from rnnstudy.mitigations.base import Backward, Diagnostics, Mitigation
from rnnstudy.runs import tags
from rnnstudy.runs.tags import Meaning


@dataclass(frozen=True, kw_only=True)
class ClipValue(Mitigation):
    """Clip every entry of the gradient of the mean loss to [-max_value, max_value]; the direction changes.

    torch.nn.utils.clip_grad_value_. Logged, as means since the last log entry: `clip_value/raw_norm` and
    `clip_value/clipped_norm` over all parameters of a replica, `clip_value/fraction`, the share of entries clipped, and
    `clip_value/active`, the fraction of steps that clipped any.

    References:
        Mikolov, Statistical language models based on neural networks, 2012, section 3.2.2.
        Li et al., IndRNN, 2018 (arXiv:1803.04831): 10; Arjovsky et al., 2016 (arXiv:1511.06464), code: 1.

    Args:
        max_value: Largest size of an entry that is left alone, above 0; inf is off.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "clip_value/raw_norm": Meaning(
            "Norm of the gradient of all parameters before clipping, mean since the last entry.",
            "loss per unit of the weights",
        ),
        "clip_value/clipped_norm": Meaning(
            "Norm of the gradient of all parameters after clipping, mean since the last entry.",
            "loss per unit of the weights",
        ),
        "clip_value/fraction": Meaning("Share of the entries clipped, mean since the last entry.", "1"),
    }

    off: ClassVar[dict[str, float]] = {"max_value": inf}
    felt: ClassVar[dict[str, float]] = {"max_value": 1e-4}

    max_value: float = 1.0

    def __post_init__(self) -> None:
        require_limit("max_value", self.max_value)

    @override
    def after_backward(self, backward: Backward) -> Diagnostics:
        gradients = list(backward.gradients.values())
        raw = replica_norms(gradients)
        clipped, entries = torch.zeros_like(raw), 0
        with torch.no_grad():
            for gradient in gradients:
                clipped += (gradient.abs() > self.max_value).flatten(1).sum(1)
                entries += gradient[0].numel()
                gradient.clamp_(-self.max_value, self.max_value)
        return {
            "clip_value/raw_norm": raw,
            "clip_value/clipped_norm": replica_norms(gradients),
            "clip_value/fraction": clipped / entries,
            tags.ACTIVE.format(mitigation="clip_value"): (clipped > 0).to(raw.dtype),
        }
