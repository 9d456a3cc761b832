"""Clipping of the gradient at every time step on its way back."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_limit
from rnnstudy.mitigations.base import Diagnostics, Mitigation, Moment
from rnnstudy.recurrence.base import AdjointEdit, States
from rnnstudy.runs import tags
from rnnstudy.runs.tags import Meaning


@dataclass(frozen=True, kw_only=True)
class ClipAdjoint(Mitigation):
    """Clip what dL/dh_t carries back from each time step to the one before, of each sequence and state by itself.

    "norm" scales a vector of larger norm down to `limit`; "value" clips every entry to ±limit. The gradient is that of
    a sequence's own loss, not divided by the batch size. What a time step receives directly, from the readout or the
    layer above, is not clipped. Recorded gradients are the clipped ones.

    Logged, as means since the last log entry: `clip_adjoint/fraction`, the share of time steps (of all sequences and
    states) that were clipped, and `clip_adjoint/active`, the fraction of optimizer steps that clipped any.

    References:
        Graves, 2013 (arXiv:1308.0850), section 2.1, clips the entries of the derivative with respect to the LSTM
        layers' inputs; here it is the carried derivative with respect to the states, for all cells.

    Args:
        by: Norm or entries to clip.
        limit: Largest norm or entry, above 0; inf is off.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "clip_adjoint/fraction": Meaning(
            "Share of the time steps, of all sequences and states, that were clipped, mean since the last entry.", "1"
        ),
    }

    off: ClassVar[dict[str, float]] = {"limit": math.inf}
    felt: ClassVar[dict[str, float]] = {"limit": 1e-3}

    by: Literal["norm", "value"] = "norm"
    limit: float = 1.0

    def __post_init__(self) -> None:
        require_limit("limit", self.limit)

    @override
    def adjoint_edit(self, moment: Moment) -> AdjointEdit | None:
        return None if math.isinf(self.limit) else _Clip(self.by, self.limit)


class _Clip(AdjointEdit):
    """Clips, and counts, for every sequence, the time steps at which a state's gradient was clipped."""

    def __init__(self, by: Literal["norm", "value"], limit: float) -> None:
        self._by, self._limit = by, limit
        self._clipped: Tensor | None = None
        self._seen = 0

    @override
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        for state in carried:
            limit = self._limit / state.shape[1]
            if self._by == "norm":
                norms = torch.linalg.vector_norm(state, dim=-1, keepdim=True, dtype=torch.float64)
                state.mul_((limit / norms).clamp(max=1).to(state.dtype))
            else:
                norms = torch.linalg.vector_norm(state, ord=math.inf, dim=-1, keepdim=True)
                state.clamp_(-limit, limit)
            clipped = norms > limit
            self._clipped = clipped.long() if self._clipped is None else self._clipped.add_(clipped)
            self._seen += state.shape[1]

    @override
    def figures(self) -> Diagnostics:
        if self._clipped is None:
            return {}
        clipped = self._clipped.sum((1, 2)).double()
        return {
            "clip_adjoint/fraction": clipped / self._seen,
            tags.ACTIVE.format(mitigation="clip_adjoint"): (clipped > 0).double(),
        }
