"""Norm and histogram of the gradient of every parameter."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from rnnstudy.core.errors import require_above
from rnnstudy.gradients.histograms import LOW, count_log10
from rnnstudy.gradients.norms import replica_norms
from rnnstudy.instruments.base import Instrument, Record
from rnnstudy.runs.tags import Meaning
from rnnstudy.writers.base import Histogram, Measurement, Measurements, Scalar


@dataclass(frozen=True, kw_only=True)
class ParameterGradNorm(Instrument):
    """Norm and histogram of the gradient of every parameter, and its norm over each layer, before the mitigations.

    With g the gradient of the mean loss over the training batch, per replica (not per sequence), as the backward pass
    gives it: with extra losses and edited adjoints, as in `grad_norm/raw`. Norms are in float64.

        parameter_grad_norm/{parameter}/norm     ||g|| of a parameter, named as by torch: `layers.0.weight_hh`
        parameter_grad_norm/{parameter}/log10    histogram of log10 |g| over its entries, between fixed edges
        parameter_grad_norm/layer_{index}/norm   ||g|| over all parameters of a recurrent layer, the lowest layer 0

    Entries without a finite logarithm (exact zeros, NaN, Inf) are in no bin.

    Args:
        bin_width: Width of a bin in powers of ten, above 0.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "parameter_grad_norm/layer_{layer}/norm": Meaning(
            "Norm of the gradient over all parameters of a recurrent layer.", "loss per unit of the weights"
        ),
        "parameter_grad_norm/{parameter}/norm": Meaning(
            "Norm of the gradient of one parameter, before the mitigations.", "loss per unit of the weights"
        ),
        "parameter_grad_norm/{parameter}/log10": Meaning(
            "Histogram of log10 of the entries of the gradient of one parameter.", "count"
        ),
    }

    needs_gradients: ClassVar[bool] = True

    bin_width: float = 0.5

    def __post_init__(self) -> None:
        require_above("bin_width", self.bin_width, 0)

    @override
    def measure(self, record: Record) -> Measurements:
        measured: dict[str, Measurement] = {}
        for name, gradient in record.gradients.items():
            # As one time step and one sequence, so that nothing is multiplied by a batch size.
            (counts,) = count_log10(gradient.flatten(1)[None, :, None], self.bin_width)
            measured[f"parameter_grad_norm/{name}/norm"] = Scalar(values=replica_norms([gradient]))
            measured[f"parameter_grad_norm/{name}/log10"] = Histogram(counts=counts, low=LOW, width=self.bin_width)
        for index in range(len(record.network.layers)):
            own = [gradient for name, gradient in record.gradients.items() if name.startswith(f"layers.{index}.")]
            measured[f"parameter_grad_norm/layer_{index}/norm"] = Scalar(values=replica_norms(own))
        return measured
