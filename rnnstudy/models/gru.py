"""The GRU network."""

from dataclasses import dataclass

from typing_extensions import override

from rnnstudy.models.base import Model
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.gru import GRURecurrence


@dataclass(frozen=True, kw_only=True)
class GRU(Model):
    """Gated recurrent units, as in `torch.nn`: layers of `GRURecurrence`.

    Args:
        layer_norm: Whether to normalise the pre-activations of each gate over the units.
    """

    layer_norm: bool = False

    @override
    def recurrence(self) -> Recurrence:
        return GRURecurrence(layer_norm=self.layer_norm)
