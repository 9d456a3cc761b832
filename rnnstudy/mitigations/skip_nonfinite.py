"""Handling of a gradient that is not finite, or far too large."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_limit
from rnnstudy.mitigations.base import Backward, Diagnostics, Mitigation, Outcome
from rnnstudy.runs.tags import Meaning


@dataclass(frozen=True, kw_only=True)
class SkipNonfinite(Mitigation):
    """Decide which steps are taken when a gradient is not finite, or its norm is above a limit.

    Without this, a replica skips every step whose loss or gradient has an entry that is not finite: one NaN would
    spread to all its weights. "skip" also skips steps with a norm above `above`. "zero" sets the entries that are not
    finite to 0 and takes the step with the rest, if the loss is finite and anything is left. Skipped steps are counted
    (`train/skipped`), and too many in a row end a replica as diverged. The norm is the raw one, before any mitigation.
    Give it first: others that take a norm see what it leaves.

    Logged, as a mean since the last log entry over the steps taken: `skip_nonfinite/zeroed`, the entries set to 0.

    Args:
        policy: Treatment of entries that are not finite.
        above: Norm of the mean loss's gradient over all parameters above which a step is skipped, too; inf is off.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "skip_nonfinite/zeroed": Meaning(
            "Entries of the gradient set to 0 as they were not finite, mean since the last entry over the steps taken.",
            "entries",
        ),
    }

    off: ClassVar[dict[str, float]] = {"above": inf}
    felt: ClassVar[dict[str, float]] = {"above": 2.3}

    policy: Literal["skip", "zero"] = "skip"
    above: float = inf

    def __post_init__(self) -> None:
        require_limit("above", self.above)

    @override
    @torch.no_grad()
    def after_backward(self, backward: Backward) -> Diagnostics:
        if self.policy == "skip":
            return {}
        zeroed = torch.zeros(backward.network.replicas, dtype=torch.float64)
        for gradient in backward.gradients.values():
            odd = ~gradient.isfinite()
            zeroed = zeroed.to(gradient.device) + odd.flatten(1).sum(1)
            gradient.masked_fill_(odd, 0)
        return {"skip_nonfinite/zeroed": zeroed}

    @override
    def may_step(self, allowed: Bool[Tensor, " replica"], outcome: Outcome) -> Bool[Tensor, " replica"]:
        # A norm that is not finite does not count as above the limit; the policy decides about it.
        small = (outcome.raw_norm <= self.above) | ~outcome.raw_norm.isfinite()
        return outcome.finite_loss & small if self.policy == "zero" else allowed & small
