"""The gated recurrent unit."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core import buffers
from rnnstudy.core.products import StepProduct
from rnnstudy.recurrence.base import Adjoint, CellWeights, Direct, Recurrence, ScanOptions, States
from rnnstudy.recurrence.scan import (
    Carried,
    Gradient,
    Joint,
    add_direct,
    after,
    backward_spans,
    per_step,
    refuse_second_derivative,
    spans,
    tanh_of_half,
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
    def scan(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        state: States,
        weights: CellWeights,
        options: ScanOptions,
    ) -> tuple[States, Float[Tensor, "read replica batch hidden"]]:
        keep = wants_gradient(inputs, *state, *weights.tensors())
        hidden, read = _GRUScan.apply(inputs, state[0], *weights.tensors(), keep, options)
        return (hidden,), read


def _pack(weights: CellWeights) -> Float[Tensor, "replica rows joint"]:
    """Four blocks of rows: r, z, and the two parts of n between which r stands, the recurrent one before the other."""
    rows, input_size = weights.weight_ih.shape[1:]
    size = rows // 3
    gates, recurrent, of_input = slice(0, 2 * size), slice(2 * size, 3 * size), slice(3 * size, 4 * size)
    packed = weights.weight_ih.new_zeros(len(weights.weight_ih), 4 * size, input_size + 1 + size)
    packed[:, gates, :input_size] = weights.weight_ih[:, gates]
    packed[:, of_input, :input_size] = weights.weight_ih[:, recurrent]
    packed[:, gates, input_size] = weights.bias_ih[:, gates] + weights.bias_hh[:, gates]
    packed[:, recurrent, input_size] = weights.bias_hh[:, recurrent]
    packed[:, of_input, input_size] = weights.bias_ih[:, recurrent]
    packed[:, : 3 * size, input_size + 1 :] = weights.weight_hh
    return packed


def _unpack(gradient: Float[Tensor, "replica rows joint"], input_size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradient of packed weights as that of the weights, in the order of `CellWeights`."""
    size = gradient.shape[1] // 4
    without_recurrent = torch.cat([gradient[:, : 2 * size], gradient[:, 3 * size :]], dim=1)
    without_input = gradient[:, : 3 * size]
    return (
        without_recurrent[..., :input_size],
        without_input[..., input_size + 1 :],
        without_recurrent[..., input_size],
        without_input[..., input_size],
    )


class _GRUScan(torch.autograd.Function):
    """Keeps, in three blocks, r, z and twice the recurrent part of n; and n itself."""

    @staticmethod
    @override
    def forward(
        ctx: Any,
        inputs: Tensor,
        h0: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        keep: bool,
        options: ScanOptions,
    ) -> tuple[Tensor, Tensor]:
        packed = _pack(CellWeights(weight_ih=weight_ih, weight_hh=weight_hh, bias_ih=bias_ih, bias_hh=bias_hh))
        joint = Joint(inputs, h0)
        num_steps, size, split = len(inputs), h0.shape[-1], joint.input_size + 1
        kept = num_steps if keep else 1
        gates = buffers.empty((kept, *h0.shape[:2], 3 * size), h0)
        new = buffers.empty((kept, *h0.shape), h0)
        doubled = packed.clone()
        doubled[:, 2 * size :].mul_(2)
        product = StepProduct(doubled[:, : 3 * size], h0.shape[1])
        for_input = doubled[:, 3 * size :, :split].transpose(1, 2)

        before = joint.hidden[0]
        for steps in spans(num_steps):
            rows, gate_steps, new_steps = (per_step(buffer, steps) for buffer in (joint.values, gates, new))
            blocks = (per_step(block, steps) for block in gates.chunk(3, dim=-1))
            from_input = per_step(joint.values[..., :split], steps)
            sigmoids, hidden = per_step(gates[..., : 2 * size], steps), after(joint.hidden, steps)
            for row, x, gate, both, r, z, recurrent, n, h in zip(
                rows, from_input, gate_steps, sigmoids, *blocks, new_steps, hidden, strict=True
            ):
                product(row, gate)
                both.sigmoid_()
                tanh_of_half(torch.bmm(x, for_input, out=n).addcmul_(r, recurrent), n)
                torch.lerp(n, before, z, out=h)
                before = h

        ctx.save_for_backward(joint.values, gates, new, packed)
        ctx.input_size, ctx.options = joint.input_size, options
        ctx.set_materialize_grads(False)
        return joint.hidden[1:], joint.read(options.read_steps)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        values, gates, new, packed = ctx.saved_tensors
        options, split = ctx.options, ctx.input_size + 1
        like, num_steps, size = new[0], len(new), new.shape[-1]
        hidden = values[..., split:]
        direct = Direct(grad_outputs[0], options.read_steps, grad_outputs[1])
        from_state = slice(0, 3 * size)
        product = StepProduct(packed[:, from_state, split:].transpose(1, 2), like.shape[1])
        gradient = Gradient(values, packed, ctx.input_size, of_inputs=ctx.needs_input_grad[0])
        carried = Carried(like, num_steps, recorded=options.recorder is not None)
        sum_of_both, through_z = torch.empty_like(like), torch.empty_like(like)

        for span in backward_spans(num_steps, like, blocks=4):
            steps = span.steps
            during = slice(steps.start, steps.stop)
            r, z, recurrent = gates[during].chunk(3, dim=-1)
            for_r, for_z, for_recurrent, for_n = span.deltas.chunk(4, dim=-1)
            n = new[during]
            torch.sub(1, z, out=for_n)
            _aten.tanh_backward.grad_input(for_n, n, grad_input=for_n)
            torch.mul(for_n, r, out=for_recurrent)
            torch.mul(for_n, recurrent, out=for_r).mul_(0.5)
            torch.sub(hidden[during], n, out=for_z)
            both = span.deltas[..., : 2 * size]
            _aten.sigmoid_backward.grad_input(both, gates[during][..., : 2 * size], grad_input=both)

            arriving, leaving = carried.views(steps)
            directs, keeps = direct.views(steps), z.unbind(0)
            in_blocks = span.deltas.unflatten(-1, (4, size)).unbind(0)
            back = span.deltas[..., from_state].unbind(0)
            for k in range(len(steps) - 1, -1, -1):
                total = add_direct(arriving[k], directs[k], out=sum_of_both)
                in_blocks[k].mul_(total.unsqueeze(-2))
                torch.mul(total, keeps[k], out=through_z)
                product(back[k], leaving[k]).add_(through_z)
                if options.edit is not None:
                    options.edit.apply((leaving[k],), steps[k] - 1, num_steps)
            gradient.add(span)

        if options.recorder is not None:
            options.recorder.adjoints["h"] = Adjoint(carried=carried.values, source=direct)
        return gradient.inputs, carried.initial, *_unpack(gradient.packed, ctx.input_size), None, None
