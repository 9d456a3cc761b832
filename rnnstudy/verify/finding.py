"""Results of a check: the largest relative error, and the largest allowed."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Result of one check on one cell.

    Args:
        check: Checked quantity, such as "dL/dh_t, total".
        against: Independent quantity that it is compared with.
        cell: Name of the cell, such as "rnn tanh".
        error: Largest relative error.
        tolerance: Largest error allowed; None where a figure is shown for information.
        remark: Sentence of explanation.
    """

    check: str
    against: str
    cell: str
    error: float
    tolerance: float | None
    remark: str = ""

    @property
    def failed(self) -> bool:
        """Whether the error is larger than allowed; NaN always is."""
        return self.tolerance is not None and not self.error <= self.tolerance


def relative_error(actual: Tensor, expected: Tensor, *, keep: int) -> float:
    """Return the largest error, relative to the largest expected entry beside it.

    max over a of (max over b of |actual[a, b] - expected[a, b]|) / (max over b of |expected[a, b]|), a the first `keep`
    axes (all if there are no more), b the others. So a gradient that vanishes over time is held to the same standard at
    every step. 0 where both are 0, infinite where only `expected` is 0, NaN where an entry is NaN. Shapes must be
    equal; devices and precisions can differ.
    """
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} cannot be compared with {tuple(expected.shape)}"
    lead = prod(actual.shape[:keep])
    actual, expected = (each.detach().cpu().double().reshape(lead, -1) for each in (actual, expected))
    error, scale = (actual - expected).abs().amax(1), expected.abs().amax(1)
    return float(torch.where((scale == 0) & (error == 0), 0.0, error / scale).max())


def share_of_different_bits(actual: Tensor, expected: Tensor) -> float:
    """Return the share of entries that are not the very same number, 0 to 1."""
    return float((actual != expected).double().mean())


def worst_error(errors: Iterable[float]) -> float:
    """Return the largest error; NaN if one is NaN, which Python's `max` can lose."""
    return float(torch.tensor(list(errors), dtype=torch.float64).max())
