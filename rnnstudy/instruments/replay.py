"""The gradient of a fixed batch in float64 with a separate exponent: what vanished, and what underflowed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from rnnstudy.gradients.replay import mean_of_logs, replay
from rnnstudy.instruments.base import ProbeInstrument, Record, Tier
from rnnstudy.recurrence.base import Adjoint, AdjointRecorder
from rnnstudy.runs.tags import Meaning
from rnnstudy.tasks.base import Batch
from rnnstudy.writers.base import Curve, Measurement, Measurements, Scalar


@dataclass(frozen=True, kw_only=True)
class Replay(ProbeInstrument):
    """log10 ||dL/dh_t|| with its exponent kept apart: what has vanished, and what merely underflowed.

    On the first sequences of the probe, in float64, beside the precision of the training:

        replay/{state}/layer_{index}/log10_total   curve over t: log10 of the mean over the sequences (total, per
                                                   sequence), as of `hidden_grad_norm`; -inf for exactly zero
        replay/{state}/layer_{index}/underflowed   share of the time steps of all sequences where training's gradient is
                                                   exactly zero (or flushed, as subnormal), but truly is not
        replay/{state}/layer_{index}/vanished      share where it truly is zero: a unit that is off, a weight of zero

    NaN for NaN gradients. The loss is the task's, without mitigations; weights are training's, states are recomputed.

    Args:
        sequences: Sequences of the probe to use, at least 1.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "replay/{state}/layer_{layer}/log10_total": Meaning(
            "log10 ||dL/ds_t|| in float64, mean over the sequences, of each time step.", "powers of ten"
        ),
        "replay/{state}/layer_{layer}/underflowed": Meaning(
            "Share of time steps whose gradient is zero in training but truly is not.", "1"
        ),
        "replay/{state}/layer_{layer}/vanished": Meaning("Share of time steps whose gradient truly is zero.", "1"),
    }

    tier: ClassVar[Tier] = "expensive"

    sequences: int = 4

    @override
    def measure(self, record: Record) -> Measurements:
        batch = self.probed(record)
        as_trained = _adjoints(record, batch)
        measured: dict[str, Measurement] = {}
        for index, logs in enumerate(replay(record.network, record.task, batch)):
            for state, each in logs.items():
                name = f"replay/{state}/layer_{index}"
                gone = torch.where(each.isnan(), torch.nan, (each == -torch.inf).to(each.dtype))
                shown_as_zero = (as_trained[index][state].total == 0).all(-1)
                measured[f"{name}/log10_total"] = Curve(values=mean_of_logs(each).T)
                measured[f"{name}/underflowed"] = Scalar(values=(shown_as_zero * (1 - gone)).mean((0, 2)))
                measured[f"{name}/vanished"] = Scalar(values=gone.mean((0, 2)))
        return measured


def _adjoints(record: Record, batch: Batch) -> Sequence[dict[str, Adjoint]]:
    """Compute the adjoints in the precision of the training; the parameters' `grad` stays as it is."""
    recorders = [AdjointRecorder() for _ in record.network.layers]
    with torch.enable_grad():
        outputs = record.network(batch.inputs, batch.loss_steps, recorders=recorders).outputs
        # Per sequence: not divided by the batch size.
        loss = record.task.loss(outputs, batch).sum() * batch.inputs.shape[2]
        torch.autograd.grad(loss, list(record.network.parameters()))
    return [recorder.adjoints for recorder in recorders]
