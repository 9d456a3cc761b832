"""Spikes of the gradient's norm from one training step to the next."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

WINDOW = 100
"""Finite steps whose median is the typical norm."""

FEWEST = 10
"""Finite steps from which on it is; before, the first finite norm stands for it."""

FACTOR = 10.0
"""Default multiple of the typical norm above which a norm is a spike."""


class Spikes:
    """Test of each replica's gradient norm against those of its steps before, on the norm's device.

    A norm spikes when it is above `factor` times the median of the replica's last 100 finite norms (before the tenth:
    times the first), or when it is not finite.
    """

    def __init__(self, replicas: int, device: torch.device, factor: float = FACTOR) -> None:
        """Start without norms."""
        self._factor = factor
        self._window = torch.full((replicas, WINDOW), torch.nan, dtype=torch.float64, device=device)
        self._count = torch.zeros(replicas, dtype=torch.long, device=device)

    def __call__(self, norms: Float[Tensor, " replica"]) -> Bool[Tensor, " replica"]:
        """Return which norms spike, and take them in."""
        window, count = self._window, self._count
        # Of an even number of norms, torch returns the lower of the two in the middle.
        median = (window.nanmedian(-1).values - window.neg().nanmedian(-1).values) / 2
        typical = torch.where(count < FEWEST, window[:, 0], median)
        finite = norms.isfinite()
        spikes = ~finite | (norms > self._factor * typical)
        place = (count % WINDOW).unsqueeze(1)
        window.scatter_(1, place, torch.where(finite.unsqueeze(1), norms.unsqueeze(1), window.gather(1, place)))
        count += finite
        return spikes

    def state(self) -> dict[str, Tensor]:
        """Return the state for a checkpoint."""
        return {"window": self._window.clone(), "count": self._count.clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore the state from a checkpoint."""
        self._window.copy_(state["window"])
        self._count.copy_(state["count"])
