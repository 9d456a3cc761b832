"""The identity as recurrent weights."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from rnnstudy.core.errors import require_above, require_at_least, require_finite
from rnnstudy.inits.base import Fresh, Initialisation, set_bias
from rnnstudy.recurrence.base import Recurrence


@dataclass(frozen=True, kw_only=True)
class Identity(Initialisation):
    """W_hh = scale * I, biases 0, input weights normal with a small standard deviation: with relu an IRNN.

    The readout stays as it is; the paper draws it with the same standard deviation.

    References:
        Le, Jaitly & Hinton, 2015 (arXiv:1504.00941), section 2.

    Args:
        scale: Factor of the identity, above 0.
        input_std: Standard deviation of the input weights, at least 0.
    """

    changes: ClassVar[tuple[str, ...]] = ("weight_hh", "weight_ih", "bias_ih", "bias_hh")

    scale: float = 1.0
    input_std: float = 0.001

    def __post_init__(self) -> None:
        require_above("scale", self.scale, 0)
        require_at_least("input_std", self.input_std, 0)
        require_finite("scale", self.scale)
        require_finite("input_std", self.input_std)

    @property
    @override
    def needs(self) -> str:
        return "one square recurrent matrix and no gates"

    @override
    def suits(self, cell: Recurrence) -> bool:
        return cell.gates == 1 and super().suits(cell)

    @override
    def start(self, fresh: Fresh, generator: torch.Generator) -> None:
        for layer in fresh.layers:
            torch.nn.init.eye_(layer["weight_hh"]).mul_(self.scale)
            layer["weight_ih"].normal_(0, self.input_std, generator=generator)
            set_bias(layer, slice(None), 0.0)
