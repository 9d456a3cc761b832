"""Where the time of a run goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Phases:
    """Adds up the wall seconds of the phases of a run.

    On CUDA, work is counted where the CPU waits for it, not where it was asked for.
    """

    def __init__(self) -> None:
        """Start with nothing spent."""
        self.seconds: dict[str, float] = {}

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Count the time inside to `phase`. Phases do not lie inside each other."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started
