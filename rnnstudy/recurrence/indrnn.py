"""The independently recurrent network's recurrence."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core import buffers
from rnnstudy.recurrence.activations import ACTIVATIONS
from rnnstudy.recurrence.base import Activated, Adjoint, Direct, Recurrence, ScanOptions, States, Weights
from rnnstudy.recurrence.scan import (
    Carried,
    add_direct,
    after,
    per_step,
    project,
    read_out,
    refuse_second_derivative,
    reversed_spans,
    spans,
)

Rectifier = Literal["relu", "tanh"]


@dataclass(frozen=True, kw_only=True)
class IndRNNRecurrence(Recurrence):
    """h_t = f(W_ih x_t + b + u * h_{t-1}), u one number a unit: every unit sees only itself of the state.

    References:
        Li, Li, Cook, Zhu & Gao, Independently recurrent neural network, 2018 (arXiv:1803.04831), equation 2.

    Args:
        nonlinearity: The activation f.
    """

    nonlinearity: Rectifier = "relu"

    @override
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        return {"weight_ih": (hidden_size, input_size), "recurrent": (hidden_size,), "bias": (hidden_size,)}

    @override
    def scan(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        state: States,
        weights: Weights,
        options: ScanOptions,
    ) -> tuple[States, Float[Tensor, "read replica batch hidden"]]:
        projected = project(inputs, weights["weight_ih"], weights["bias"])
        hidden, read = _IndRNNScan.apply(projected, state[0], weights["recurrent"], self.nonlinearity, options)
        return (hidden,), read

    @override
    def recurrent_matrices(self, weights: Weights) -> dict[str, Float[Tensor, "replica hidden hidden"]]:
        return {"recurrent": torch.diag_embed(weights["recurrent"])}

    @override
    def activated(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> dict[str, Activated]:
        return {"h": Activated(nonlinearity=self.nonlinearity, values=self.step(inputs, before, weights)[0])}


class _IndRNNScan(torch.autograd.Function):
    @staticmethod
    @override
    def forward(
        ctx: Any, projected: Tensor, h0: Tensor, recurrent: Tensor, nonlinearity: Rectifier, options: ScanOptions
    ) -> tuple[Tensor, Tensor]:
        activation, num_steps = ACTIVATIONS[nonlinearity], len(projected)
        factor = recurrent.unsqueeze(1).clone()
        hidden = buffers.empty((num_steps + 1, *h0.shape), h0)
        hidden[0].copy_(h0)
        preactivation = torch.empty_like(h0)

        before = hidden[0]
        for steps in spans(num_steps):
            for row, h in zip(per_step(projected, steps), after(hidden, steps), strict=True):
                torch.addcmul(row, before, factor, out=preactivation)
                if activation.gain != 1:
                    preactivation.mul_(activation.gain)
                activation.apply(preactivation, None, h)
                before = h

        ctx.save_for_backward(hidden, factor)
        ctx.nonlinearity, ctx.options = nonlinearity, options
        ctx.set_materialize_grads(False)
        return hidden[1:], read_out(hidden[1:], options.read_steps)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        hidden, factor = ctx.saved_tensors
        options, activation = ctx.options, ACTIVATIONS[ctx.nonlinearity]
        direct = Direct(grad_outputs[0], options.read_steps, grad_outputs[1])
        like, num_steps = hidden[0], len(hidden) - 1
        carried = Carried(like, num_steps, recorded=options.recorder is not None)
        sum_of_both, of_recurrent = torch.empty_like(like), torch.zeros_like(like)
        delta = torch.empty_like(hidden[1:])

        for steps in reversed_spans(num_steps):
            during = slice(steps.start, steps.stop)
            activation.slope(hidden[steps.start + 1 : steps.stop + 1], delta[during])
            arriving, leaving = carried.views(steps)
            directs, deltas = direct.views(steps), delta[during].unbind(0)
            befores = hidden[during].unbind(0)
            for k in range(len(steps) - 1, -1, -1):
                total = add_direct(arriving[k], directs[k], out=sum_of_both)
                activation.through(deltas[k], total)
                of_recurrent.addcmul_(deltas[k], befores[k])
                torch.mul(deltas[k], factor, out=leaving[k])
                if options.edit is not None:
                    options.edit.apply((leaving[k],), steps[k] - 1, num_steps)

        if options.recorder is not None:
            options.recorder.adjoints["h"] = Adjoint(carried=carried.values, source=direct)
        return delta, carried.initial, of_recurrent.sum(1), None, None
