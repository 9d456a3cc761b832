"""Recurrence of the independently recurrent network."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core import buffers
from rnnstudy.recurrence import scan
from rnnstudy.recurrence.activations import ACTIVATIONS
from rnnstudy.recurrence.base import Activated, States, Weights

Rectifier = Literal["relu", "tanh"]


@dataclass(frozen=True, kw_only=True)
class IndRNNRecurrence(scan.Scanned):
    """h_t = f(W_ih x_t + b + u * h_{t-1}), u one number per unit: each unit sees only its own state.

    References:
        Li, Li, Cook, Zhu & Gao, Independently recurrent neural network, 2018 (arXiv:1803.04831), equation 2.

    Args:
        nonlinearity: Activation f.
    """

    nonlinearity: Rectifier = "relu"

    @override
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        return {"weight_ih": (hidden_size, input_size), "recurrent": (hidden_size,), "bias": (hidden_size,)}

    @override
    def prepared(
        self, inputs: Float[Tensor, "time replica batch input"], weights: Weights
    ) -> tuple[Float[Tensor, "time replica batch hidden"], Weights]:
        return scan.project(inputs, weights["weight_ih"], weights["bias"]), {"recurrent": weights["recurrent"]}

    @override
    def forward_scan(
        self, inputs: Float[Tensor, "time replica batch hidden"], state: States, weights: Weights, *, keep: bool
    ) -> scan.ForwardScan:
        (h0,), num_steps = state, len(inputs)
        activation = ACTIVATIONS[self.nonlinearity]
        factor = weights["recurrent"].unsqueeze(1).clone()
        hidden = buffers.empty((num_steps + 1, *h0.shape), h0)
        hidden[0].copy_(h0)
        preactivation = torch.empty_like(h0)

        before = hidden[0]
        for row, h in scan.step_by_step(num_steps, inputs, hidden[1:]):
            torch.addcmul(row, before, factor, out=preactivation)
            if activation.gain != 1:
                preactivation.mul_(activation.gain)
            activation.apply(preactivation, None, h)
            before = h
        return scan.ForwardScan(states=(hidden[1:],), kept=(hidden, factor))

    @override
    def backward_scan(self, back: scan.BackwardScan) -> scan.Gradients:
        hidden, factor = back.kept
        activation = ACTIVATIONS[self.nonlinearity]
        of_recurrent, delta = torch.zeros_like(back.like), torch.empty_like(hidden[1:])

        for steps in reversed(scan.spans(back.num_steps)):
            during = slice(steps.start, steps.stop)
            activation.slope(hidden[1:][during], delta[during])
            deltas, befores = delta[during].unbind(0), hidden[during].unbind(0)
            for k, total, leaving in back.steps(steps):
                activation.through(deltas[k], total)
                of_recurrent.addcmul_(deltas[k], befores[k])
                torch.mul(deltas[k], factor, out=leaving)

        return delta, (back.carried.initial,), {"recurrent": of_recurrent.sum(1)}

    @override
    def recurrent_matrices(self, weights: Weights) -> dict[str, Float[Tensor, "replica hidden hidden"]]:
        return {"recurrent": torch.diag_embed(weights["recurrent"])}

    @override
    def activated(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> dict[str, Activated]:
        return {"h": Activated(nonlinearity=self.nonlinearity, values=self.step(inputs, before, weights)[0])}
