"""Norm of the parameters' gradient, before and after the mitigations."""

from dataclasses import dataclass

from typing_extensions import override

from rnnstudy.instruments.base import Instrument, Record
from rnnstudy.runs import tags
from rnnstudy.writers.base import Measurements, Scalar


@dataclass(frozen=True, kw_only=True)
class GradNorm(Instrument):
    """Norm of the gradient over all parameters, before and after the mitigations change it.

    Of the mean loss over the batch, per replica, in float64. Tags: `grad_norm/raw` (with extra losses and edited
    adjoints), `grad_norm/clipped` as the optimizer gets it.
    """

    @override
    def measure(self, record: Record) -> Measurements:
        return {
            tags.RAW_NORM: Scalar(values=record.raw_norm),
            tags.CLIPPED_NORM: Scalar(values=record.clipped_norm),
        }
