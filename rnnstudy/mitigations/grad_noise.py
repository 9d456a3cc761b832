"""Noise added to gradients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from rnnstudy.core.errors import require_at_least, require_between, require_finite
from rnnstudy.core.seeding import make_generator
from rnnstudy.mitigations.base import Backward, Diagnostics, Mitigation
from rnnstudy.runs.tags import Meaning


@dataclass(frozen=True, kw_only=True)
class GradNoise(Mitigation):
    """Add normal noise to every entry of the gradient, of variance eta / (1 + step)^gamma.

    Each replica's noise depends on its seed and the step alone. Logged: `grad_noise/std`.

    References:
        Neelakantan et al., 2015 (arXiv:1511.06807), section 3, equation 1: eta from 0.01, 0.3, 1; gamma 0.55.

    Args:
        eta: Variance at the first step, at least 0; 0 is off.
        gamma: Exponent of the decay, 0 to 100.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "grad_noise/std": Meaning(
            "Standard deviation of the noise added to every entry of the gradient, mean since the last entry.",
            "loss per unit of the weights",
        ),
    }

    off: ClassVar[dict[str, float]] = {"eta": 0.0}
    felt: ClassVar[dict[str, float]] = {"eta": 0.01}

    eta: float = 0.01
    gamma: float = 0.55

    def __post_init__(self) -> None:
        require_at_least("eta", self.eta, 0)
        require_between("gamma", self.gamma, 0, 100)
        require_finite("eta", self.eta)

    @override
    @torch.no_grad()
    def after_backward(self, backward: Backward) -> Diagnostics:
        step = backward.moment.step
        deviation = (self.eta / (1 + step) ** self.gamma) ** 0.5
        if deviation:
            for replica, seed in enumerate(backward.moment.seeds):
                generator = make_generator(seed, f"grad_noise {step}")
                for gradient in backward.gradients.values():
                    one = gradient[replica]
                    noise = torch.randn(one.shape, generator=generator, dtype=one.dtype)
                    one.add_(noise.to(one.device), alpha=deviation)
        return {"grad_noise/std": torch.full((len(backward.moment.seeds),), deviation, dtype=torch.float64)}
