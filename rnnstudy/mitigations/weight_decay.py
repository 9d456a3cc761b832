"""A penalty on the size of weights."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, require_at_least, require_finite
from rnnstudy.mitigations.base import Mitigation
from rnnstudy.models.base import RECURRENT, Model, Network


@dataclass(frozen=True, kw_only=True)
class WeightDecay(Mitigation):
    """Add a penalty on weights to the loss: strength / 2 * sum w^2 ("l2") or strength * sum |w| ("l1").

    On the recurrent weights it keeps the gradient from exploding, and so makes it vanish. An adaptive optimizer scales
    its gradient like the loss's, unlike the decoupled decay of torch.optim.AdamW.

    References:
        Pascanu, Mikolov & Bengio, 2013 (arXiv:1211.5063), section 3.1.

    Args:
        strength: Factor of the penalty, at least 0; 0 is off.
        penalty: Squares (l2) or absolute values (l1).
        of: recurrent: what multiplies states in the recurrence; all: every parameter.
    """

    off: ClassVar[dict[str, float]] = {"strength": 0.0}
    felt: ClassVar[dict[str, float]] = {"strength": 1.0}

    strength: float = 1.0e-4
    penalty: Literal["l2", "l1"] = "l2"
    of: Literal["recurrent", "all"] = "recurrent"

    def __post_init__(self) -> None:
        require_at_least("strength", self.strength, 0)
        require_finite("strength", self.strength)

    @override
    def require_suits(self, model: Model) -> None:
        has_none = not set(RECURRENT) & model.recurrence().shapes(2, 2).keys()
        if self.of == "recurrent" and (has_none or (model.orthogonal and self.penalty == "l2")):
            raise ConfigError("it needs recurrent weights whose size can change, or of=all.")

    @override
    def extra_loss(self, network: Network) -> Float[Tensor, " replica"] | None:
        if self.strength == 0:
            return None
        if self.of == "all":
            weights = list(network.parameters())
        else:
            weights = [weight for layer in network.recurrent_layers for weight in layer.recurrent_weights().values()]
        sizes = [(w.square() / 2 if self.penalty == "l2" else w.abs()).flatten(1).sum(1) for w in weights]
        return self.strength * torch.stack(sizes).sum(0)
