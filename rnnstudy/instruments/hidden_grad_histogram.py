"""Histogram of the gradient's entries with respect to the hidden state."""

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_above, require_at_least
from rnnstudy.core.lags import SHOWN, log_spaced_lags
from rnnstudy.gradients.histograms import LOW, count_log10
from rnnstudy.gradients.norms import KINDS, count_kinds
from rnnstudy.instruments.base import Instrument, Record
from rnnstudy.runs import tags
from rnnstudy.writers.base import Histogram, Measurement, Measurements, Scalar


@dataclass(frozen=True, kw_only=True)
class HiddenGradHistogram(Instrument):
    """Histograms of log10 |dL/dh_t|: total, direct, carried, by lag; zeros, subnormals, NaN and Inf are counted.

    Over all units, sequences and replicas, between fixed edges. The gradient is per sequence (not divided by the batch
    size). Tags, `hidden_grad_histogram/{state}/layer_{index}/...`: the total derivative over all time steps,
    `all_steps`, and at log-spaced lags, counted back from the last time step, `lag_{lag}`; of the cell's output (h),
    over all time steps, its parts `direct` and `carried` (see `HiddenGradNorm`). Values of the total without a finite
    logarithm are counted per replica over all time steps: `zero_count`, `subnormal_count`, `nan_count`, `inf_count`.

    Args:
        num_lags: Log-spaced lags at most, at least 2.
        bin_width: Width of a bin in powers of ten, above 0.
    """

    num_lags: int = SHOWN
    bin_width: float = 0.5

    def __post_init__(self) -> None:
        require_at_least("num_lags", self.num_lags, 2)
        require_above("bin_width", self.bin_width, 0)

    @override
    def measure(self, record: Record) -> Measurements:
        measured: dict[str, Measurement] = {}
        output, *_ = record.network.recurrent_layers[0].recurrence.states
        for index, adjoints in enumerate(record.adjoints):
            for state, adjoint in adjoints.items():
                place = {"state": state, "layer": index}
                total = adjoint.total
                counts = count_log10(total, self.bin_width)
                measured[tags.ALL_STEPS.format(**place)] = self._histogram(counts.sum(0))
                if state == output:
                    for part, values in (("direct", adjoint.direct), ("carried", adjoint.carried)):
                        measured[tags.PART_HISTOGRAM.format(**place, part=part)] = self._histogram(
                            count_log10(values, self.bin_width).sum(0)
                        )
                for lag in log_spaced_lags(len(total), self.num_lags):
                    measured[tags.AT_LAG.format(**place, lag=f"{lag:04d}")] = self._histogram(
                        counts[len(total) - 1 - lag]
                    )
                kinds = count_kinds(total)
                for kind in KINDS:
                    measured[tags.KIND_COUNT.format(**place, kind=kind)] = Scalar(values=kinds[kind].double())
        return measured

    def _histogram(self, counts: Int[Tensor, "replica bin"]) -> Histogram:
        return Histogram(counts=counts, low=LOW, width=self.bin_width)
