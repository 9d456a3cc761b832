"""The GRU network."""

from dataclasses import dataclass

from typing_extensions import override

from rnnstudy.models.base import Model
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.gru import GRURecurrence


@dataclass(frozen=True, kw_only=True)
class GRU(Model):
    """Layers of `GRURecurrence`."""

    @override
    def recurrence(self) -> Recurrence:
        return GRURecurrence()
