"""The recurrent network whose state keeps part of itself."""

from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

from rnnstudy.models.base import Model
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.residual import ResidualRecurrence


@dataclass(frozen=True, kw_only=True)
class ResidualRNN(Model):
    """h_t = (1 - rate) h_{t-1} + rate tanh(...), leaky, or h_t = h_{t-1} + rate tanh(...), residual.

    Layers of `ResidualRecurrence`.

    Args:
        variant: Share of the previous state that is kept: 1 - rate (leaky) or all (residual).
        rate: New share, above 0; if leaky, at most 1 (the vanilla network), with the time constant 1 / rate time steps.
    """

    variant: Literal["leaky", "residual"] = "leaky"
    rate: float = 0.1

    @override
    def recurrence(self) -> Recurrence:
        return ResidualRecurrence(variant=self.variant, rate=self.rate)
