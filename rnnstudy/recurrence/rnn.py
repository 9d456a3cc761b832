"""The vanilla (Elman) recurrence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.recurrence.base import (
    Adjoint,
    AdjointEdit,
    AdjointRecorder,
    Carried,
    CellWeights,
    Joint,
    Recurrence,
    States,
    by_replica,
    chunks,
    pack,
    refuse_second_derivative,
    scatter_inputs,
)

Nonlinearity = Literal["tanh", "sigmoid", "relu"]

_aten = torch.ops.aten


def _relu_backward(grad: Tensor, output: Tensor, *, grad_input: Tensor) -> Tensor:
    return _aten.threshold_backward.grad_input(grad, output, 0, grad_input=grad_input)


def _relu(values: Tensor, *, out: Tensor) -> Tensor:
    return torch.clamp_min(values, 0, out=out)


FORWARD: dict[Nonlinearity, Callable[..., Tensor]] = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": _relu}
BACKWARD: dict[Nonlinearity, Callable[..., Tensor]] = {
    "tanh": _aten.tanh_backward.grad_input,
    "sigmoid": _aten.sigmoid_backward.grad_input,
    "relu": _relu_backward,
}
"""Derivatives through the activation, in terms of its output; relu'(0) = 0 as in torch."""


@dataclass(frozen=True, kw_only=True)
class RNNRecurrence(Recurrence):
    """h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), as torch.nn.RNN, and with a sigmoid.

    References:
        Elman, Finding structure in time, 1990.

    Args:
        nonlinearity: The activation f.
    """

    states: ClassVar[tuple[str, ...]] = ("h",)
    gates: ClassVar[int] = 1

    nonlinearity: Nonlinearity = "tanh"

    @override
    def unroll(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        state: States,
        weights: CellWeights,
        *,
        recorder: AdjointRecorder | None = None,
        edit: AdjointEdit | None = None,
    ) -> States:
        packed = pack(weights.weight_ih, weights.bias_ih + weights.bias_hh, weights.weight_hh)
        return (_RNNScan.apply(inputs, state[0], packed, self.nonlinearity, recorder, edit),)


class _RNNScan(torch.autograd.Function):
    @staticmethod
    @override
    def forward(
        ctx: Any,
        inputs: Tensor,
        h0: Tensor,
        packed: Tensor,
        nonlinearity: Nonlinearity,
        recorder: AdjointRecorder | None,
        edit: AdjointEdit | None,
    ) -> Tensor:
        joint = Joint(inputs, h0)
        activation = FORWARD[nonlinearity]
        transposed = packed.transpose(1, 2)
        preactivation = torch.empty_like(h0)

        hidden = joint.hidden.unbind(0)
        for t, row in enumerate(joint.values[:-1].unbind(0)):
            torch.bmm(row, transposed, out=preactivation)
            activation(preactivation, out=hidden[t + 1])

        ctx.save_for_backward(joint.values, packed)
        ctx.input_size = joint.input_size
        ctx.nonlinearity, ctx.recorder, ctx.edit = nonlinearity, recorder, edit
        return joint.hidden[1:]

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        values, packed = ctx.saved_tensors
        (direct,) = grad_outputs
        num_steps, size = len(direct), ctx.input_size
        derivative = BACKWARD[ctx.nonlinearity]
        weight_hh = packed[..., size + 1 :].contiguous()
        weight_ih = packed[..., :size]
        grad_packed = torch.zeros_like(packed)
        grad_inputs = direct.new_empty(*direct.shape[:3], size) if ctx.needs_input_grad[0] else None
        carried = Carried(direct[0], num_steps, recorded=ctx.recorder is not None)
        total = torch.empty_like(carried.initial)

        hidden = values[1:, ..., size + 1 :].unbind(0)
        for steps in chunks(num_steps, total.numel()):
            deltas = total.new_empty(len(steps), *total.shape)
            for t, delta in zip(reversed(steps), reversed(deltas.unbind(0)), strict=True):
                torch.add(direct[t], carried.at(t), out=total)
                derivative(total, hidden[t], grad_input=delta)
                torch.bmm(delta, weight_hh, out=carried.at(t - 1))
                if ctx.edit is not None:
                    ctx.edit.apply((carried.at(t - 1),), t - 1, num_steps)
            span = slice(steps.start, steps.stop)
            rows = by_replica(deltas)
            grad_packed.baddbmm_(rows.transpose(1, 2), by_replica(values[span]))
            if grad_inputs is not None:
                scatter_inputs(torch.bmm(rows, weight_ih), grad_inputs[span])

        if ctx.recorder is not None:
            ctx.recorder.adjoints["h"] = Adjoint(direct=direct.contiguous().clone(), carried=carried.values)
        return grad_inputs, carried.initial, grad_packed, None, None, None
