"""Time several ways of doing the same work, in turn, so that a busy machine slows all of them equally."""

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, median_high, quantiles

import torch


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Times of one way of doing the work.

    Args:
        seconds: One entry per round; the same round of two timings ran side by side.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median over the rounds, in seconds."""
        return median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Lower and upper quartile over the rounds, in seconds."""
        low, _, high = quantiles(self.seconds, n=4)
        return low, high

    def over(self, other: "Timing") -> float:
        """Return the median ratio to another way over the same rounds; the higher of two middle ones."""
        return median_high(one / against for one, against in zip(self.seconds, other.seconds, strict=True))


TURN = 0.05
"""Least seconds of a turn: shorter work is repeated, to be measured as in a training loop, not with cold caches."""


@dataclass(frozen=True, kw_only=True)
class Stopwatch:
    """Stopwatch that lets the ways take turns, round after round.

    Args:
        device: Device of the work; a CUDA device is synchronised.
        min_rounds: Least number of rounds, 2 or more.
        seconds: Time after which no further round starts.
    """

    device: torch.device
    min_rounds: int = 5
    seconds: float = 6.0

    def measure(self, ways: Mapping[str, Callable[[], object]]) -> dict[str, Timing]:
        """Time the work of every way, by name, after one round that does not count."""
        for work in ways.values():
            self._time(work, 1)
        repeats = {name: math.ceil(TURN / self._time(work, 1)) for name, work in ways.items()}
        rounds: dict[str, list[float]] = {name: [] for name in ways}
        done, started = 0, time.perf_counter()
        names, order = list(ways), random.Random(0)
        while done < self.min_rounds or time.perf_counter() - started < self.seconds:
            # In another order every round, so that no way always follows the same one.
            order.shuffle(names)
            for name in names:
                rounds[name].append(self._time(ways[name], repeats[name]))
            done += 1
        return {name: Timing(seconds=tuple(seconds)) for name, seconds in rounds.items()}

    def _time(self, work: Callable[[], object], repeats: int) -> float:
        """Return the seconds for doing the work once, the mean over `repeats`."""
        self._wait()
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        self._wait()
        return (time.perf_counter() - started) / repeats

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
