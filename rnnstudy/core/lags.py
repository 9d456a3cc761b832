"""Lags at which quantities over time are shown; all views side by side use the same ones."""

from typing import TypeVar

import torch

T = TypeVar("T")

SHOWN = 8
"""Maximum number of lags shown."""


def log_spaced_lags(num_steps: int, count: int = SHOWN) -> list[int]:
    """Return at most `count` different lags from 0 to `num_steps - 1`, evenly spaced on a logarithmic scale.

    >>> log_spaced_lags(23, 12)
    [0, 1, 2, 3, 5, 6, 9, 12, 16, 22]
    """
    spaced = torch.logspace(0, 1, count, base=float(num_steps), dtype=torch.float64) - 1
    return sorted(set(spaced.round().long().tolist()))


def thinned(places: list[T], count: int) -> list[T]:
    """Return at most `count` of the places, evenly spread, the first and the last among them.

    >>> thinned([0, 1, 2, 3, 5, 9, 22], 4)
    [0, 2, 5, 22]
    """
    if len(places) <= count:
        return places
    last = len(places) - 1
    return [places[round(index * last / (count - 1))] for index in range(count)]
