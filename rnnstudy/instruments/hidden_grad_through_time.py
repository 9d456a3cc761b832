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
from rnnstudy.runs import tags
from rnnstudy.writers.base import HistogramOverTime, Measurements


@dataclass(frozen=True, kw_only=True)
class HiddenGradThroughTime(Instrument):
    """log10 |dL/ds_t| over units and sequences, one histogram per time step: the gradient on its way back through time.

    Of the lowest and the top layer, per sequence (not divided by the batch size). Tags:
    `hidden_grad_through_time/{state}/layer_{index}/total`; of the cell's output (h) also the total's parts `.../direct`
    and `.../carried` (see `HiddenGradNorm`). Exact zeros, NaN and Inf are missing; `hidden_grad_histogram` counts them.
    It is big, so it measures at a few chosen steps: as training begins, while the network learns, at the end.

    Args:
        max_time_steps: Time steps at most, at least 2; of longer sequences evenly spread ones with both ends.
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
            tags.THROUGH_TIME.format(state=state, layer=index, part=part): self._over_time(values)
            for index in sorted({0, len(record.adjoints) - 1})
            for state, adjoint in record.adjoints[index].items()
            for part, values in _parts(adjoint, of_output=state == output)
        }

    def _over_time(self, values: Float[Tensor, "time replica batch hidden"]) -> HistogramOverTime:
        kept = thinned(list(range(len(values))), self.max_time_steps)
        counts = count_log10(values[kept], self.bin_width).transpose(0, 1)
        return HistogramOverTime(counts=counts, time_steps=kept, low=LOW, width=self.bin_width)


def _parts(adjoint: Adjoint, *, of_output: bool) -> Iterator[tuple[str, Float[Tensor, "time replica batch hidden"]]]:
    """Yield the name and the values of each part that is shown separately."""
    yield "total", adjoint.total
    if of_output:
        yield "direct", adjoint.direct
        yield "carried", adjoint.carried
