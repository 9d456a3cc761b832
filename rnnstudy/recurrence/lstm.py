"""The long short-term memory recurrence."""

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
class LSTMRecurrence(Recurrence):
    """The LSTM of torch.nn.LSTM: gates i f g o, no peepholes.

    c_t = f_t c_{t-1} + i_t g_t and h_t = o_t tanh(c_t).

    References:
        Hochreiter & Schmidhuber, Long short-term memory, 1997; Gers, Schmidhuber & Cummins, Learning to forget,
        2000: the forget gate.
    """

    states: ClassVar[tuple[str, ...]] = ("h", "c")
    gates: ClassVar[int] = 4

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
        i, f, g, o = packed.chunk(4, dim=1)
        packed = torch.cat([i, f, o, g], dim=1)
        keep = wants_gradient(inputs, packed, *state)
        return _LSTMScan.apply(inputs, *state, packed, keep, recorder, edit)


class _LSTMScan(torch.autograd.Function):
    """Gates are kept in the order i f o g, so that the three sigmoids are one block."""

    @staticmethod
    @override
    def forward(
        ctx: Any,
        inputs: Tensor,
        h0: Tensor,
        c0: Tensor,
        packed: Tensor,
        keep: bool,
        recorder: AdjointRecorder | None,
        edit: AdjointEdit | None,
    ) -> tuple[Tensor, Tensor]:
        joint = Joint(inputs, h0)
        num_steps, size = len(inputs), h0.shape[-1]
        kept = num_steps if keep else 1
        gates = h0.new_empty(kept, *h0.shape[:2], 4 * size)
        tanh_cell = h0.new_empty(kept, *h0.shape)
        cell = h0.new_empty(num_steps + 1, *h0.shape)
        cell[0].copy_(c0)
        transposed = packed.transpose(1, 2)

        hidden, cells = joint.hidden.unbind(0), cell.unbind(0)
        gate_steps, tanh_steps = per_step(gates, num_steps), per_step(tanh_cell, num_steps)
        for t, row in enumerate(joint.values[:-1].unbind(0)):
            gate, c = gate_steps[t], cells[t + 1]
            torch.bmm(row, transposed, out=gate)
            gate[..., : 3 * size].sigmoid_()
            gate[..., 3 * size :].tanh_()
            i, f, o, g = gate.chunk(4, dim=-1)
            torch.mul(f, cells[t], out=c).addcmul_(i, g)
            torch.tanh(c, out=tanh_steps[t])
            torch.mul(o, tanh_steps[t], out=hidden[t + 1])

        ctx.save_for_backward(joint.values, gates, cell, tanh_cell, packed)
        ctx.input_size, ctx.recorder, ctx.edit = joint.input_size, recorder, edit
        ctx.set_materialize_grads(False)
        return joint.hidden[1:], cell[1:]

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        values, gates, cell, tanh_cell, packed = ctx.saved_tensors
        num_steps, size, recorded = len(tanh_cell), tanh_cell.shape[-1], ctx.recorder is not None
        output_h, output_c = grad_outputs
        direct_h = torch.zeros_like(tanh_cell) if output_h is None else output_h
        weight_hh = packed[..., ctx.input_size + 1 :].contiguous()
        grad_packed = torch.zeros_like(packed)
        grad_inputs = (
            values.new_empty(num_steps, *values.shape[1:3], ctx.input_size) if ctx.needs_input_grad[0] else None
        )
        carried_h = Carried(tanh_cell[0], num_steps, recorded=recorded)
        carried_c = Carried(tanh_cell[0], num_steps, recorded=recorded)
        direct_c = torch.empty_like(carried_c.values)
        direct_c_steps = per_step(direct_c, num_steps)
        total_h, total_c = torch.empty_like(carried_h.initial), torch.empty_like(carried_c.initial)

        for steps in chunks(num_steps, 4 * total_h.numel()):
            deltas = total_h.new_empty(len(steps), *total_h.shape[:2], 4 * size)
            for t, delta in zip(reversed(steps), reversed(deltas.unbind(0)), strict=True):
                gate, tanh_c, through_h = gates[t], tanh_cell[t], direct_c_steps[t]
                i, f, o, g = gate.chunk(4, dim=-1)
                torch.add(direct_h[t], carried_h.at(t), out=total_h)
                torch.mul(total_h, o, out=through_h)
                _aten.tanh_backward.grad_input(through_h, tanh_c, grad_input=through_h)
                if output_c is not None:
                    through_h.add_(output_c[t])
                torch.add(through_h, carried_c.at(t), out=total_c)

                delta_i, delta_f, delta_o, delta_g = delta.chunk(4, dim=-1)
                torch.mul(total_c, g, out=delta_i)
                torch.mul(total_c, cell[t], out=delta_f)
                torch.mul(total_h, tanh_c, out=delta_o)
                torch.mul(total_c, i, out=delta_g)
                sigmoids, slopes = gate[..., : 3 * size], delta[..., : 3 * size]
                _aten.sigmoid_backward.grad_input(slopes, sigmoids, grad_input=slopes)
                _aten.tanh_backward.grad_input(delta_g, g, grad_input=delta_g)

                torch.mul(total_c, f, out=carried_c.at(t - 1))
                torch.bmm(delta, weight_hh, out=carried_h.at(t - 1))
                if ctx.edit is not None:
                    ctx.edit.apply((carried_h.at(t - 1), carried_c.at(t - 1)), t - 1, num_steps)
            span = slice(steps.start, steps.stop)
            rows = by_replica(deltas)
            grad_packed.baddbmm_(rows.transpose(1, 2), by_replica(values[span]))
            if grad_inputs is not None:
                scatter_inputs(torch.bmm(rows, packed[..., : ctx.input_size]), grad_inputs[span])

        if recorded:
            ctx.recorder.adjoints["h"] = Adjoint(direct=direct_h.contiguous().clone(), carried=carried_h.values)
            ctx.recorder.adjoints["c"] = Adjoint(direct=direct_c, carried=carried_c.values)
        return grad_inputs, carried_h.initial, carried_c.initial, grad_packed, None, None, None
