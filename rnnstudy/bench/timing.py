"""Time several ways of doing the same work, in turn, so that a busy machine slows all of them alike."""

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, median_high, quantiles

import torch


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long one way of doing the work took.

    Args:
        seconds: One entry per round; the same round of two timings ran side by side.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median over the rounds, in seconds."""
        return median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The lower and the upper quartile over the rounds, in seconds."""
        low, _, high = quantiles(self.seconds, n=4)
        return low, high

    def over(self, other: "Timing") -> float:
        """Return the median ratio to another way over the same rounds; of two middle ones the higher."""
        return median_high(one / against for one, against in zip(self.seconds, other.seconds, strict=True))


TURN = 0.05
"""Seconds that a turn lasts at least: work that takes less is repeated, so that it is measured as in a training loop,
not as it is after other work has emptied the caches."""


@dataclass(frozen=True, kw_only=True)
class Stopwatch:
    """Lets the ways take turns, round after round.

    Args:
        device: What the work runs on; a CUDA device is waited for.
        min_rounds: Rounds to run at least, 2 or more.
        seconds: Start no further round after this long.
    """

    device: torch.device
    min_rounds: int = 5
    seconds: float = 6.0

    def measure(self, ways: Mapping[str, Callable[[], None]]) -> dict[str, Timing]:
        """Time every way, after one round that does not count.

        Args:
            ways: Name to the work.

        Returns:
            Name to timing.
        """
        for work in ways.values():
            self._time(work, 1)
        repeats = {name: math.ceil(TURN / self._time(work, 1)) for name, work in ways.items()}
        rounds: dict[str, list[float]] = {name: [] for name in ways}
        done, started = 0, time.perf_counter()
        names, order = list(ways), random.Random(0)
        while done < self.min_rounds or time.perf_counter() - started < self.seconds:
            # In another order every round, so that none always follows the same.
            order.shuffle(names)
            for name in names:
                rounds[name].append(self._time(ways[name], repeats[name]))
            done += 1
        return {name: Timing(seconds=tuple(seconds)) for name, seconds in rounds.items()}

    def _time(self, work: Callable[[], None], repeats: int) -> float:
        """Seconds for doing the work once, the mean over `repeats`."""
        self._wait()
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        self._wait()
        return (time.perf_counter() - started) / repeats

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
