"""Norm of the gradient with respect to the hidden state, at every time step."""

from dataclasses import dataclass

from typing_extensions import override

from rnnstudy.gradients.norms import sequence_norms
from rnnstudy.instruments.base import Instrument, Record
from rnnstudy.runs import tags
from rnnstudy.writers.base import Curve, Measurements


@dataclass(frozen=True, kw_only=True)
class HiddenGradNorm(Instrument):
    """Mean over the batch of ||dL/dh_t|| (and ||dL/dc_t||) at every time step: total, direct, carried, of the answer.

    The gradient is that of a sequence's own loss, not divided by the batch size. `total` is the total derivative,
    `direct` its part through the layer's output at t, `carried` its part through the state at t + 1. Where the loss has
    other outputs than the answer, `answer` is the total derivative of the answer's loss alone (of a text: of the last
    prediction's), sent back by itself. Reduced in float64. Tags: `hidden_grad_norm/{state}/layer_{index}/{part}`, the
    lowest layer 0.
    """

    @override
    def measure(self, record: Record) -> Measurements:
        return {
            tags.HIDDEN_GRAD_NORM.format(state=state, layer=index, part=part): Curve(values=norms.mean(-1).T)
            for index, adjoints in enumerate(record.adjoints)
            for state, adjoint in adjoints.items()
            for part, norms in (
                ("total", record.norms[index][state]),
                ("direct", sequence_norms(adjoint.direct)),
                ("carried", sequence_norms(adjoint.carried)),
                *([("answer", record.answer_norms[index][state])] if record.sends_answer_alone else []),
            )
        }
