"""The gated recurrent unit."""

from dataclasses import dataclass
from typing import Any, ClassVar

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
    per_step,
    refuse_second_derivative,
    scatter_inputs,
    wants_gradient,
)

_aten = torch.ops.aten


@dataclass(frozen=True, kw_only=True)
class GRURecurrence(Recurrence):
    """The GRU of torch.nn.GRU: gates r z n, the reset gate applied after the recurrent product.

    n_t = tanh(W_in x_t + b_in + r_t (W_hn h_{t-1} + b_hn)) and h_t = (1 - z_t) n_t + z_t h_{t-1}.

    References:
        Cho et al., Learning phrase representations, 2014 (arXiv:1406.1078), version 1: this place of the reset
        gate; the published version applies it before the product.
    """

    states: ClassVar[tuple[str, ...]] = ("h",)
    gates: ClassVar[int] = 3

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
        size = state[0].shape[-1]
        bias = weights.bias_ih + weights.bias_hh
        gates = pack(weights.weight_ih[:, : 2 * size], bias[:, : 2 * size], weights.weight_hh[:, : 2 * size])
        new_input = torch.cat([weights.weight_ih[:, 2 * size :], weights.bias_ih[:, 2 * size :, None]], dim=-1)
        new_hidden = torch.cat([weights.bias_hh[:, 2 * size :, None], weights.weight_hh[:, 2 * size :]], dim=-1)
        keep = wants_gradient(inputs, gates, new_input, new_hidden, *state)
        return (_GRUScan.apply(inputs, state[0], gates, new_input, new_hidden, keep, recorder, edit),)


class _GRUScan(torch.autograd.Function):
    """Weights: r and z over [x, 1, h]; the new state's over [x, 1] and over [1, h], since r stands between them."""

    @staticmethod
    @override
    def forward(
        ctx: Any,
        inputs: Tensor,
        h0: Tensor,
        weight_gates: Tensor,
        weight_input: Tensor,
        weight_hidden: Tensor,
        keep: bool,
        recorder: AdjointRecorder | None,
        edit: AdjointEdit | None,
    ) -> Tensor:
        joint = Joint(inputs, h0)
        num_steps, size, split = len(inputs), h0.shape[-1], joint.input_size
        kept = num_steps if keep else 1
        gates = h0.new_empty(kept, *h0.shape[:2], 2 * size)
        recurrent, new = h0.new_empty(kept, *h0.shape), h0.new_empty(kept, *h0.shape)
        for_gates, for_input, for_hidden = (
            weight.transpose(1, 2) for weight in (weight_gates, weight_input, weight_hidden)
        )

        hidden = joint.hidden.unbind(0)
        gate_steps, recurrent_steps, new_steps = (per_step(buffer, num_steps) for buffer in (gates, recurrent, new))
        for t, row in enumerate(joint.values[:-1].unbind(0)):
            gate, n = gate_steps[t], new_steps[t]
            torch.bmm(row, for_gates, out=gate).sigmoid_()
            r, z = gate.chunk(2, dim=-1)
            torch.bmm(row[..., split:], for_hidden, out=recurrent_steps[t])
            torch.bmm(row[..., : split + 1], for_input, out=n).addcmul_(r, recurrent_steps[t]).tanh_()
            torch.lerp(n, hidden[t], z, out=hidden[t + 1])

        ctx.save_for_backward(joint.values, gates, recurrent, new, weight_gates, weight_input, weight_hidden)
        ctx.input_size, ctx.recorder, ctx.edit = split, recorder, edit
        return joint.hidden[1:]

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        values, gates, recurrent, new, weight_gates, weight_input, weight_hidden = ctx.saved_tensors
        (direct,) = grad_outputs
        num_steps, size, split = len(new), new.shape[-1], ctx.input_size
        # Rows of the deltas: r z, the recurrent part of n, n itself. The first three come from h_{t-1}.
        weight_hh = torch.cat([weight_gates[..., split + 1 :], weight_hidden[..., 1:]], dim=1)
        grad_gates, grad_input, grad_hidden = (
            torch.zeros_like(weight) for weight in (weight_gates, weight_input, weight_hidden)
        )
        grad_inputs = values.new_empty(num_steps, *values.shape[1:3], split) if ctx.needs_input_grad[0] else None
        carried = Carried(new[0], num_steps, recorded=ctx.recorder is not None)
        total = torch.empty_like(carried.initial)

        hidden = values[..., split + 1 :].unbind(0)
        for steps in chunks(num_steps, 4 * total.numel()):
            deltas = total.new_empty(len(steps), *total.shape[:2], 4 * size)
            for t, delta in zip(reversed(steps), reversed(deltas.unbind(0)), strict=True):
                n, before = new[t], carried.at(t - 1)
                r, z = gates[t].chunk(2, dim=-1)
                delta_r, delta_z, delta_recurrent, delta_n = delta.chunk(4, dim=-1)
                torch.add(direct[t], carried.at(t), out=total)
                torch.sub(hidden[t], n, out=delta_z).mul_(total)
                torch.mul(total, z, out=before)
                _aten.tanh_backward.grad_input(total.sub_(before), n, grad_input=delta_n)
                torch.mul(delta_n, recurrent[t], out=delta_r)
                torch.mul(delta_n, r, out=delta_recurrent)
                slopes = delta[..., : 2 * size]
                _aten.sigmoid_backward.grad_input(slopes, gates[t], grad_input=slopes)

                before.baddbmm_(delta[..., : 3 * size], weight_hh)
                if ctx.edit is not None:
                    ctx.edit.apply((before,), t - 1, num_steps)
            span = slice(steps.start, steps.stop)
            rows, joint = by_replica(deltas), by_replica(values[span])
            by_gates, by_hidden, by_input = rows.split([2 * size, size, size], dim=-1)
            grad_gates.baddbmm_(by_gates.transpose(1, 2), joint)
            grad_hidden.baddbmm_(by_hidden.transpose(1, 2), joint[..., split:])
            grad_input.baddbmm_(by_input.transpose(1, 2), joint[..., : split + 1])
            if grad_inputs is not None:
                arriving = torch.bmm(by_gates, weight_gates[..., :split])
                scatter_inputs(arriving.baddbmm_(by_input, weight_input[..., :split]), grad_inputs[span])

        if ctx.recorder is not None:
            ctx.recorder.adjoints["h"] = Adjoint(direct=direct.contiguous().clone(), carried=carried.values)
        return grad_inputs, carried.initial, grad_gates, grad_input, grad_hidden, None, None, None
