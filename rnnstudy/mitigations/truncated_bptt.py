"""Truncated backpropagation through time."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from rnnstudy.core.errors import MOST, require_at_least
from rnnstudy.mitigations.base import Mitigation, Moment
from rnnstudy.recurrence.base import AdjointEdit, States


@dataclass(frozen=True, kw_only=True)
class TruncatedBPTT(Mitigation):
    """Let no gradient travel more than `steps` time steps back; the forward pass does not change.

    The backward pass is cut into windows of `steps` + 1 time steps counted from the sequence's end. A loss at the last
    time step reaches exactly the `steps` time steps before it; a loss elsewhere reaches those before it in its own
    window. Recorded gradients are those of the cut backward pass.

    References:
        Williams & Peng, An efficient gradient-based algorithm for on-line training of recurrent network trajectories,
        1990, BPTT(h; h'), with windows that do not overlap.

    Args:
        steps: Time steps that a gradient travels back at most, at least 0; as many as the sequence has is off.
    """

    off: ClassVar[dict[str, float]] = {"steps": MOST}
    felt: ClassVar[dict[str, float]] = {"steps": 2}

    steps: int = 20

    def __post_init__(self) -> None:
        require_at_least("steps", self.steps, 0)

    @override
    def adjoint_edit(self, moment: Moment) -> AdjointEdit | None:
        return _Truncate(self.steps)


@dataclass(frozen=True)
class _Truncate(AdjointEdit):
    steps: int

    @override
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        lag = num_steps - 1 - time_step
        if lag % (self.steps + 1) == 0:
            for state in carried:
                state.zero_()
