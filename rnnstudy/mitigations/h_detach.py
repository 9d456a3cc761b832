"""h-detach."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, require_between
from rnnstudy.core.seeding import make_generator
from rnnstudy.mitigations.base import Mitigation, Moment
from rnnstudy.models.base import Model
from rnnstudy.recurrence.base import AdjointEdit, States


@dataclass(frozen=True, kw_only=True)
class HDetach(Mitigation):
    """Let the gradient pass back through c alone, with some probability at every time step.

    With `probability`, what h_t carries back is set to zero, for all sequences and layers of a replica at once; what
    c_t carries stays. With probability 1 the derivative of c_T with respect to c_t is the product of the forget gates
    between them. The forward pass does not change; recorded gradients are those of the cut backward pass.

    References:
        Arpit et al., h-detach, 2019 (arXiv:1810.03023), section 2.2.

    Args:
        probability: Probability of cutting, at each time step, from 0 (off) to 1.
        off_phase: Share of the optimizer steps, at the end, in which nothing is cut, from 0 to 1.
    """

    off: ClassVar[dict[str, float]] = {"probability": 0.0}
    felt: ClassVar[dict[str, float]] = {"probability": 0.5}

    probability: float = 0.25
    off_phase: float = 0.1

    def __post_init__(self) -> None:
        require_between("probability", self.probability, 0, 1)
        require_between("off_phase", self.off_phase, 0, 1)

    @override
    def require_suits(self, model: Model) -> None:
        if "c" not in model.recurrence().states:
            raise ConfigError("it needs a cell state beside the hidden state.")

    @override
    def adjoint_edit(self, moment: Moment) -> AdjointEdit | None:
        # After the last step its gradient is measured again, as if the step were repeated.
        step = min(moment.step, moment.num_steps - 1)
        if self.probability == 0 or step >= moment.num_steps - round(self.off_phase * moment.num_steps):
            return None
        return _Cut(self.probability, moment)


class _Cut(AdjointEdit):
    def __init__(self, probability: float, moment: Moment) -> None:
        self._probability, self._moment = probability, moment
        self._cut: Sequence[Tensor] = ()

    @override
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        hidden = carried[0]
        if len(self._cut) != num_steps:
            self._cut = self._draw(num_steps, hidden)
        hidden.masked_fill_(self._cut[time_step + 1], 0)

    def _draw(self, num_steps: int, like: Tensor) -> Sequence[Tensor]:
        """Draw where to cut: for every step back and replica; the first is that to the initial state."""
        drawn = [
            torch.rand(num_steps, generator=make_generator(seed, f"h_detach {self._moment.step}"))
            for seed in self._moment.seeds
        ]
        cut = torch.stack(drawn, dim=1) < self._probability
        return cut.to(like.device)[..., None, None].unbind(0)
