"""Histograms of the entries of a gradient, on a logarithmic scale."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

LOW, HIGH = -46, 40
"""Powers of ten between which the edges lie: from float32's smallest subnormal to beyond its largest number."""


def count_log10(adjoint: Float[Tensor, "time replica batch hidden"], width: float) -> Int[Tensor, "time replica bin"]:
    """Return counts of log10 |dL/ds_t| per sequence (times the batch size) over units and sequences, L the mean loss.

    Bins are `width` powers of ten wide, the first from LOW on; the first and last also hold what lies beyond.
    Entries without a finite logarithm (exact zeros, NaN, Inf) are in no bin.
    """
    bins = round((HIGH - LOW) / width)
    few = max(1, _AT_ONCE // max(1, adjoint[:1].numel()))
    return torch.cat([_count(values, width, bins) for values in adjoint.split(few)])


_AT_ONCE = 2**17
"""Entries counted at once, so that intermediate values stay in the cache: twice as fast."""


def _count(
    values: Float[Tensor, "time replica batch hidden"], width: float, bins: int
) -> Int[Tensor, "time replica bin"]:
    # A loss at one time step makes the direct part of all others zero: there are no logarithms to take.
    if not values.any():
        return values.new_zeros((*values.shape[:2], bins), dtype=torch.long)
    # In float64: float32's subnormal numbers are normal there, and values near an edge stay on their side.
    logs = values.abs().double().mul_(values.shape[2]).log10_()
    infinite = ~logs.isfinite()
    # An extra bin, dropped below, takes what has no finite logarithm.
    place = logs.sub_(LOW).div_(width).floor_().clamp_(0, bins - 1).masked_fill_(infinite, bins).int().flatten(2)
    rows = place.shape[0] * place.shape[1]
    place += torch.arange(rows, dtype=torch.int32, device=place.device).view(*place.shape[:2], 1) * (bins + 1)
    counts = torch.bincount(place.flatten(), minlength=rows * (bins + 1))
    return counts.view(*place.shape[:2], bins + 1)[..., :bins]
