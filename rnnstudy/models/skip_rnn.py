"""The recurrent network with skip connections through time."""

from dataclasses import dataclass

from typing_extensions import override

from rnnstudy.models.base import Model
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.skip import SkipRecurrence


@dataclass(frozen=True, kw_only=True)
class SkipRNN(Model):
    """h_t sees h_{t-1} and h_{t-skip}, so that a gradient travels back in fewer, longer steps.

    Layers of `SkipRecurrence`.

    Args:
        skip: Time steps that the connection spans, 2 to 1000.
    """

    skip: int = 5

    @override
    def recurrence(self) -> Recurrence:
        return SkipRecurrence(skip=self.skip)
