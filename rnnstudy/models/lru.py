"""The network of linear recurrent units."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, require_above, require_at_least
from rnnstudy.inits.base import Fresh
from rnnstudy.models.base import Draw, Model
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.lru import LRURecurrence


@dataclass(frozen=True, kw_only=True)
class LRU(Model):
    """A diagonal complex linear recurrence; a gate after each layer makes the network more than linear.

    Layers of `LRURecurrence`; the eigenvalues start uniform in a ring of the unit disc. With g = gelu(h_t), a layer
    puts out g * sigmoid(A g + a). The recurrence is linear in its inputs, so tasks that decide at every input what to
    store, such as adding, need at least two layers.

    References:
        Orvieto et al., 2023 (arXiv:2303.06349), lemma 3.2 (the ring), section 3.4 (the scale of the inputs); without
        the blocks' normalisation and residual connection.
        Smith, Warrington & Linderman, 2023 (arXiv:2208.04933), appendix G.1: this gate.

    Args:
        r_min: Least |eigenvalue| at the start, at least 0.
        r_max: Largest |eigenvalue| at the start, above `r_min` and at most 1.
        max_phase: Largest phase of an eigenvalue at the start, in radians, above 0 and at most 2 pi.
        gated: Whether a layer puts out its gated states; if not, its states as they are: a linear network.
    """

    set_by_model: ClassVar[tuple[str, ...]] = ("weight_ih", "log_decay", "log_phase", "log_scale")

    r_min: float = 0.9
    r_max: float = 0.999
    max_phase: float = 6.28
    gated: bool = True

    def __post_init__(self) -> None:
        require_at_least("r_min", self.r_min, 0)
        require_above("r_max", self.r_max, self.r_min)
        require_above("max_phase", self.max_phase, 0)
        if self.r_max > 1:
            raise ConfigError(f"r_max must be at most 1, or states would grow from step to step, got {self.r_max}.")
        if self.max_phase > 2 * math.pi:
            raise ConfigError(f"max_phase must be at most 2 pi (6.283), got {self.max_phase}.")
        super().__post_init__()

    @override
    def recurrence(self) -> Recurrence:
        return LRURecurrence()

    @override
    def start(self, fresh: Fresh, generator: torch.Generator) -> None:
        for layer in fresh.layers:
            decay, phase, scale = layer["log_decay"], layer["log_phase"], layer["log_scale"]
            # The square of the radius is uniform between the squares of the bounds; never exactly 0 or 1.
            drawn = torch.rand(decay.shape, generator=generator, dtype=decay.dtype).clamp(1e-6, 1 - 1e-6)
            square = drawn * (self.r_max**2 - self.r_min**2) + self.r_min**2
            decay.copy_(torch.log(-0.5 * torch.log(square)))
            drawn = torch.rand(phase.shape, generator=generator, dtype=phase.dtype).clamp(min=1e-6)
            phase.copy_(torch.log(self.max_phase * drawn))
            scale.copy_(0.5 * torch.log(1 - square))
            layer["weight_ih"].normal_(0, (2 * layer["weight_ih"].shape[-1]) ** -0.5, generator=generator)

    @override
    def make_output_map(self, draw: Draw) -> nn.Module | None:
        return _Gate(self.hidden_size, draw) if self.gated else None


class _Gate(nn.Module):
    def __init__(self, size: int, draw: Draw) -> None:
        super().__init__()
        self.weight = nn.Parameter(draw((size, size)))
        self.bias = nn.Parameter(draw((size,)))

    @override
    def forward(self, hidden: Float[Tensor, "time replica batch hidden"]) -> Float[Tensor, "time replica batch hidden"]:
        time, _, batch, _ = hidden.shape
        rows = functional.gelu(hidden).transpose(0, 1).flatten(1, 2)
        gate = torch.baddbmm(self.bias.unsqueeze(1), rows, self.weight.transpose(1, 2)).sigmoid()
        return (rows * gate).unflatten(1, (time, batch)).transpose(0, 1)
