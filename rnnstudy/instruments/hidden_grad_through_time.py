"""Histograms of the gradient's entries at every time step, at chosen training steps."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_above, require_at_least
from rnnstudy.core.lags import thinned
from rnnstudy.core.schedule import At, Schedule
from rnnstudy.gradients.histograms import LOW, count_log10
from rnnstudy.instruments.base import Instrument, Record
from rnnstudy.recurrence.base import Adjoint
from rnnstudy.writers.base import HistogramOverTime, Measurements


@dataclass(frozen=True, kw_only=True)
class HiddenGradThroughTime(Instrument):
    """log10 |dL/ds_t| over units and sequences, one histogram per time step: the gradient on its way back through time.

    Of the lowest and the top layer, per sequence (not divided by the batch size). Tags:
    `hidden_grad_through_time/{state}/layer_{index}/total`, and of the cell's output (h) also the two parts of which the
    total is the sum: `.../direct`, through the layer's output at t, and `.../carried`, through the state at t + 1.
    Exact zeros, NaN and Inf are in no histogram; `hidden_grad_histogram` counts them.

    It says much and is big, so it is asked at a few chosen steps: as the training begins, while it learns, and of the
    last weights.

    Args:
        max_time_steps: How many time steps at most, at least 2; of longer sequences evenly spread ones, the first and
            the last among them.
        bin_width: Width of a bin in powers of ten, above 0.
    """

    schedule: Schedule = field(default_factory=lambda: At(steps=(300, 1000)))
    max_time_steps: int = 100
    bin_width: float = 0.5

    def __post_init__(self) -> None:
        require_at_least("max_time_steps", self.max_time_steps, 2)
        require_above("bin_width", self.bin_width, 0)

    @override
    def measure(self, record: Record) -> Measurements:
        output, *_ = record.network.recurrent_layers[0].recurrence.states
        return {
            f"hidden_grad_through_time/{state}/layer_{index}/{part}": self._over_time(values)
            for index in sorted({0, len(record.adjoints) - 1})
            for state, adjoint in record.adjoints[index].items()
            for part, values in _parts(adjoint, of_output=state == output)
        }

    def _over_time(self, values: Float[Tensor, "time replica batch hidden"]) -> HistogramOverTime:
        kept = thinned(list(range(len(values))), self.max_time_steps)
        counts = count_log10(values[kept], self.bin_width).transpose(0, 1)
        return HistogramOverTime(counts=counts, time_steps=kept, low=LOW, width=self.bin_width)


def _parts(adjoint: Adjoint, *, of_output: bool) -> Iterator[tuple[str, Float[Tensor, "time replica batch hidden"]]]:
    """The parts that are told apart.

    Yields:
        The name of a part, and its values.
    """
    yield "total", adjoint.total
    if of_output:
        yield "direct", adjoint.direct
        yield "carried", adjoint.carried
