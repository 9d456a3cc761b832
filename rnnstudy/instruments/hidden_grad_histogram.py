"""Histogram of the gradient's entries with respect to the hidden state."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_above, require_at_least
from rnnstudy.gradients.norms import KINDS, count_kinds
from rnnstudy.instruments.base import Instrument, Record
from rnnstudy.writers.base import Histogram, Measurement, Measurements, Scalar

LOW, HIGH = -46, 40
"""Powers of ten between which the edges lie: the smallest subnormal of float32 to beyond its largest number."""


@dataclass(frozen=True, kw_only=True)
class HiddenGradHistogram(Instrument):
    """log10 |dL/dh_t| over all units, sequences and replicas, between fixed edges.

    The gradient is the total derivative, per sequence (not divided by the batch size). Tags:
    `hidden_grad_histogram/{state}/layer_{index}/all_steps` over all time steps, and `.../lag_{lag}` at log-spaced
    lags, counted back from the last time step. What has no finite logarithm is counted apart, over all time steps and
    per replica: `.../zero_count`, `.../subnormal_count`, `.../nan_count`, `.../inf_count`.

    Args:
        num_lags: How many log-spaced lags at most, at least 2.
        bin_width: Width of a bin in powers of ten, above 0.
    """

    num_lags: int = 12
    bin_width: float = 0.5

    def __post_init__(self) -> None:
        require_at_least("num_lags", self.num_lags, 2)
        require_above("bin_width", self.bin_width, 0)

    @override
    def measure(self, record: Record) -> Measurements:
        measured: dict[str, Measurement] = {}
        for index, adjoints in enumerate(record.adjoints):
            for state, adjoint in adjoints.items():
                name = f"hidden_grad_histogram/{state}/layer_{index}"
                total = adjoint.total
                counts = self._count(total)
                measured[f"{name}/all_steps"] = self._histogram(counts.sum(0))
                for lag in log_spaced_lags(len(total), self.num_lags):
                    measured[f"{name}/lag_{lag:04d}"] = self._histogram(counts[len(total) - 1 - lag])
                kinds = count_kinds(total)
                for kind in KINDS:
                    measured[f"{name}/{kind}_count"] = Scalar(values=kinds[kind].double())
        return measured

    def _count(self, total: Float[Tensor, "time replica batch hidden"]) -> Int[Tensor, "time replica bin"]:
        """Histogram of every time step and replica."""
        bins = round((HIGH - LOW) / self.bin_width)
        # In float64: a subnormal number of float32 is none there, and what lies beside an edge stays on its side.
        logs = total.double().abs_().mul_(total.shape[2]).log10_()
        place = ((logs - LOW) / self.bin_width).floor_().clamp_(0, bins - 1)
        # One bin more, dropped again, takes what has no finite logarithm.
        place = torch.where(logs.isfinite(), place, bins).int().flatten(2)
        rows = place.shape[0] * place.shape[1]
        place += torch.arange(rows, dtype=torch.int32, device=place.device).view(*place.shape[:2], 1) * (bins + 1)
        counts = torch.bincount(place.flatten(), minlength=rows * (bins + 1))
        return counts.view(*place.shape[:2], bins + 1)[..., :bins]

    def _histogram(self, counts: Int[Tensor, "replica bin"]) -> Histogram:
        return Histogram(counts=counts, low=LOW, width=self.bin_width)


def log_spaced_lags(num_steps: int, count: int) -> list[int]:
    """Return at most `count` different lags from 0 to `num_steps - 1`, evenly spaced on a logarithmic scale.

    >>> log_spaced_lags(23, 12)
    [0, 1, 2, 3, 5, 6, 9, 12, 16, 22]
    """
    spaced = torch.logspace(0, 1, count, base=float(num_steps), dtype=torch.float64) - 1
    return sorted(set(spaced.round().long().tolist()))
