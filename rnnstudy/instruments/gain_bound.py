"""The most by which one time step of a vanilla network can lengthen the gradient."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from rnnstudy.gradients.activation_curves import gamma_of
from rnnstudy.gradients.spectra import spectral_norm
from rnnstudy.instruments.base import Instrument, LooksAt, Record
from rnnstudy.runs import tags
from rnnstudy.writers.base import Measurements, Scalar


@dataclass(frozen=True, kw_only=True)
class GainBound(Instrument):
    """gamma * ||W_hh||, the largest factor of the carried gradient per time step of a vanilla network.

    With h_t = f(W_hh h_{t-1} + ...), |f'| <= gamma and ||W_hh|| the largest singular value, in float64:

        gain_bound/layer_{index}    gamma * ||W_hh||

    With a loss at the last time step alone, the gradient of the top layer's state at lag k is at most this to the power
    of k times that at lag 0. Below 1 it must vanish; above 1 it may do anything. Gated cells, skip and residual
    connections and layer normalisation have no such bound, and no figure here. NaN for weights that are not finite.

    References:
        Pascanu, Mikolov & Bengio, 2013 (arXiv:1211.5063), section 2.1.
    """

    looks_at: ClassVar[LooksAt] = "the weights"

    @override
    @torch.no_grad()
    def measure(self, record: Record) -> Measurements:
        return {
            tags.GAIN_BOUND.format(layer=index): Scalar(
                values=gamma * spectral_norm(layer.weights()["weight_hh"].double())
            )
            for index, layer in enumerate(record.network.recurrent_layers)
            if (gamma := gamma_of(layer.recurrence)) is not None
        }
