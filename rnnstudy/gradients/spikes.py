"""Spikes of the gradient's norm from one training step to the next."""

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

WINDOW = 100
"""Finite steps whose median is the typical norm."""

FEWEST = 10
"""Finite steps from which on it is; before, the first finite norm stands for it."""

FACTOR = 10.0
"""Default multiple of the typical norm above which a norm is a spike."""


class Spikes:
    """Test of each replica's gradient norm against those of its steps before.

    A norm spikes when it is above `factor` times the median of the replica's last 100 finite norms (before the tenth:
    times the first), or when it is not finite.
    """

    def __init__(self, replicas: int, factor: float = FACTOR) -> None:
        """Start without norms."""
        self._factor = factor
        self._windows = [deque[float](maxlen=WINDOW) for _ in range(replicas)]
        self._sorted: list[list[float]] = [[] for _ in range(replicas)]

    def __call__(self, norms: Sequence[float]) -> list[bool]:
        """Return which replica's norm spikes, and take the norms in."""
        return [self._take(*each) for each in zip(norms, self._windows, self._sorted, strict=True)]

    def _take(self, norm: float, window: deque[float], ordered: list[float]) -> bool:
        if not math.isfinite(norm):
            return True
        count, spikes = len(window), False
        if count:
            middle = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
            spikes = norm > self._factor * (window[0] if count < FEWEST else middle)
        if count == WINDOW:
            del ordered[bisect_left(ordered, window[0])]
        window.append(norm)
        insort(ordered, norm)
        return spikes

    def state(self) -> list[list[float]]:
        """Return the state for a checkpoint."""
        return [list(window) for window in self._windows]

    def load_state(self, state: Sequence[Sequence[float]]) -> None:
        """Restore the state from a checkpoint."""
        self._windows = [deque(window, maxlen=WINDOW) for window in state]
        self._sorted = [sorted(window) for window in state]
