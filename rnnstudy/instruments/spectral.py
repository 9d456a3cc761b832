"""Spectra of the recurrent weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from rnnstudy.gradients.spectra import non_normality, spectral_norm, spectral_radius
from rnnstudy.instruments.base import Instrument, LooksAt, Record
from rnnstudy.runs.tags import Meaning
from rnnstudy.writers.base import Measurements, Scalar

FIGURES: dict[str, Callable[[Tensor], Tensor]] = {
    "radius": spectral_radius,
    "norm": spectral_norm,
    "non_normality": non_normality,
}


@dataclass(frozen=True, kw_only=True)
class Spectral(Instrument):
    """Spectral radius, spectral norm and non-normality of every recurrent matrix, in float64.

        spectral/layer_{index}/{matrix}/radius          largest absolute eigenvalue
        spectral/layer_{index}/{matrix}/norm            largest singular value
        spectral/layer_{index}/{matrix}/non_normality   sqrt(||W||_F^2 - sum |lambda|^2) / ||W||_F: 0 of a normal matrix

    The matrices multiply the state: `weight_hh` of a vanilla network, `weight_hh/{gate}` of gated ones, `weight_skip`;
    `recurrent` (a diagonal) of indrnn, `eigenvalues` of lru. With |f'| <= gamma, gamma * norm < 1 makes a vanilla
    network's gradient vanish; the radius does so only in the long run and for a constant slope. For gated cells no
    single matrix says much; see `jacobian_norms`. NaN for weights that are not finite.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        f"spectral/layer_{{layer}}/{matrix}/{figure}": Meaning(f"{text} of a recurrent matrix.", "1")
        for matrix in ("{matrix}", "{matrix}/{gate}")
        for figure, text in (
            ("radius", "Largest absolute eigenvalue"),
            ("norm", "Largest singular value"),
            ("non_normality", "sqrt(||W||_F^2 - sum |lambda|^2) / ||W||_F, 0 where W is normal,"),
        )
    }

    looks_at: ClassVar[LooksAt] = "the weights"

    @override
    @torch.no_grad()
    def measure(self, record: Record) -> Measurements:
        return {
            f"spectral/layer_{index}/{name}/{figure}": Scalar(values=of(matrix.double()))
            for index, layer in enumerate(record.network.recurrent_layers)
            for name, matrix in layer.recurrence.recurrent_matrices(layer.weights()).items()
            for figure, of in FIGURES.items()
        }
