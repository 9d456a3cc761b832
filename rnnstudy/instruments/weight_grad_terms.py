"""Lags that the gradient of the recurrent weights comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.gradients.weight_terms import weight_gradients, weight_terms
from rnnstudy.instruments.base import ProbeInstrument, Record, Tier
from rnnstudy.runs.tags import Meaning
from rnnstudy.writers.base import Curve, Measurement, Measurements, Scalar


@dataclass(frozen=True, kw_only=True)
class WeightGradTerms(ProbeInstrument):
    """Share of dE/dW by lag: dE/dW is a sum of terms G(s, t), one per loss step s and source step t <= s.

    With G the sum of all terms and <,> the sum over products of entries,

        weight_grad_terms/layer_{index}/share      curve over the lag: sum over s - t = lag of <G(s, t), G> / <G, G>
        weight_grad_terms/layer_{index}/mean_lag   sum of lag |share| over sum of |share|, in time steps

    The shares add up to 1; a share is negative where its lag pulls against the whole. W are the weights that multiply
    states (for `lru`, which has none, all). E is the mean over the first sequences of the probe of the task's loss
    alone, in float64; changes by mitigations do not show. NaN where the gradient is zero.

    Args:
        sequences: Sequences of the probe to use, at least 1.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "weight_grad_terms/layer_{layer}/share": Meaning(
            "Share of dE/dW by lag: sum over s - t = lag of <G(s, t), G> / <G, G>.", "1"
        ),
        "weight_grad_terms/layer_{layer}/mean_lag": Meaning(
            "Mean lag of the terms of dE/dW, weighted by the size of their share.", "time steps"
        ),
    }

    tier: ClassVar[Tier] = "expensive"

    sequences: int = 4

    @override
    def measure(self, record: Record) -> Measurements:
        batch = self.probed(record)
        gradients = weight_gradients(record.network, record.task, batch)
        layers = zip(record.network.recurrent_layers, gradients, strict=True)
        totals = [{name: total[name] for name in layer.recurrent_weights() or total} for layer, total in layers]
        replicas, num_steps = batch.inputs.shape[1], len(batch.inputs)
        shares = [torch.zeros(replicas, num_steps, dtype=torch.float64, device=batch.inputs.device) for _ in totals]
        for terms in weight_terms(record.network, record.task, batch):
            along = _along(terms.gradients, totals[terms.layer])
            count = along.shape[1]
            lag = terms.loss_step - terms.first
            shares[terms.layer][:, lag - count + 1 : lag + 1] += along.flip(1)
        measured: dict[str, Measurement] = {}
        for index, share in enumerate(shares):
            whole = share / _along({name: total[None] for name, total in totals[index].items()}, totals[index])
            lags = torch.arange(num_steps, dtype=torch.float64, device=share.device)
            size = whole.abs()
            measured[f"weight_grad_terms/layer_{index}/share"] = Curve(values=whole)
            measured[f"weight_grad_terms/layer_{index}/mean_lag"] = Scalar(values=(size * lags).sum(1) / size.sum(1))
        return measured


def _along(
    terms: dict[str, Float[Tensor, "time replica ..."]], total: dict[str, Float[Tensor, "replica ..."]]
) -> Float[Tensor, "replica time"]:
    """Compute <term, total>, over all weights in `total`."""
    return torch.stack([(terms[name] * each).flatten(2).sum(-1) for name, each in total.items()]).sum(0).T
