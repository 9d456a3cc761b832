"""What a check finds: the largest relative error, and how much of one is allowed."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check on one cell.

    Args:
        check: What is checked, such as "dL/dh_t, total".
        against: What it is compared with; independent of it.
        cell: On which cell, such as "rnn tanh".
        error: The largest relative error.
        tolerance: The largest that is allowed; None where a figure is shown for information.
        remark: A sentence that tells more.
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
    """The largest error, relative to the largest entry that it stands beside.

    max over a of (max over b of |actual[a, b] - expected[a, b]|) / (max over b of |expected[a, b]|), a the first `keep`
    axes, b the others. A gradient that vanishes over time is so held to the same standard at its last step and at its
    first.

    Args:
        actual: What is checked, on any device, of any precision.
        expected: What it should be, of the same shape.
        keep: How many axes have a scale for each of their entries; all if there are no more.

    Returns:
        The error: 0 where both are 0, infinite where only `expected` is, NaN where anything is.
    """
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} cannot be compared with {tuple(expected.shape)}"
    lead = prod(actual.shape[:keep])
    actual, expected = (each.detach().cpu().double().reshape(lead, -1) for each in (actual, expected))
    error, scale = (actual - expected).abs().amax(1), expected.abs().amax(1)
    return float(torch.where((scale == 0) & (error == 0), 0.0, error / scale).max())


def share_of_different_bits(actual: Tensor, expected: Tensor) -> float:
    """How many of the entries are not the very same number: 0 to 1."""
    return float((actual != expected).double().mean())


def worst_error(errors: Iterable[float]) -> float:
    """The largest; NaN if one is, which Python's `max` may lose."""
    return float(torch.tensor(list(errors), dtype=torch.float64).max())
