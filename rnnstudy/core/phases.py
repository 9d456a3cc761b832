"""Wall time of a run by phase."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Wall seconds of a run's phases; on CUDA, work counts where the CPU waits for it, not where it is launched."""

    def __init__(self) -> None:
        """Start with no time spent."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Add the time of the block to `phase`. Phases must not nest."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started
