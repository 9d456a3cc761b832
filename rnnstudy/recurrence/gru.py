"""The gated recurrent unit."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core import buffers
from rnnstudy.core.products import StepProduct
from rnnstudy.recurrence.base import Activated, Adjoint, Direct, Recurrence, ScanOptions, States, Weights
from rnnstudy.recurrence.layer_norm import LayerNorm, normalise
from rnnstudy.recurrence.scan import (
    Carried,
    Gradient,
    Joint,
    add_direct,
    affine,
    affine_shapes,
    after,
    backward_spans,
    per_step,
    project,
    refuse_second_derivative,
    spans,
    tanh_of_half,
    wants_gradient,
)

_aten = torch.ops.aten


@dataclass(frozen=True, kw_only=True)
class GRURecurrence(Recurrence):
    """The GRU of torch.nn.GRU: gates r z n, the reset gate applied after the recurrent product.

    n_t = tanh(W_in x_t + b_in + r_t (W_hn h_{t-1} + b_hn)) and h_t = (1 - z_t) n_t + z_t h_{t-1}. With layer
    normalisation the pre-activations of r and z and both parts of that of n, all without biases, are normalised over
    the units, multiplied by learnt gains (in the order r, z, recurrent part of n, other part of n), and the biases
    are added.

    References:
        Cho et al., Learning phrase representations, 2014 (arXiv:1406.1078), version 1: this place of the reset
        gate; the published version applies it before the product.
        Ba, Kiros & Hinton, Layer normalization, 2016 (arXiv:1607.06450): there inputs and states are normalised by
        themselves, and r and z together.

    Args:
        layer_norm: Whether to normalise the pre-activations.
    """

    gate_names: ClassVar[tuple[str, ...]] = ("r", "z", "n")

    layer_norm: bool = False

    @property
    @override
    def in_torch(self) -> bool:
        return not self.layer_norm

    @override
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        gain = {"gain": (4 * hidden_size,)} if self.layer_norm else {}
        return affine_shapes(3, input_size, hidden_size) | gain

    @override
    def scan(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        state: States,
        weights: Weights,
        options: ScanOptions,
    ) -> tuple[States, Float[Tensor, "read replica batch hidden"]]:
        keep = wants_gradient(inputs, *state, *weights.values())
        gain = weights.get("gain")
        hidden, read = _GRUScan.apply(inputs, state[0], *affine(weights), gain, keep, options)
        return (hidden,), read

    @override
    @torch.no_grad()
    def activated(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> dict[str, Activated]:
        weight_ih, weight_hh, bias_ih, bias_hh = affine(weights)
        r, z, other = project(inputs, weight_ih).chunk(3, dim=-1)
        of_r, of_z, recurrent = project(before[0], weight_hh).chunk(3, dim=-1)
        sums = torch.cat([r + of_r, z + of_z, recurrent, other], dim=-1)
        sums = normalise(sums, _pack_bias(bias_ih, bias_hh), weights.get("gain"), blocks=4)
        r, z, recurrent, other = sums.chunk(4, dim=-1)
        r, z = torch.sigmoid(r), torch.sigmoid(z)
        return {
            "r": Activated(nonlinearity="sigmoid", values=r),
            "z": Activated(nonlinearity="sigmoid", values=z),
            "n": Activated(nonlinearity="tanh", values=torch.tanh(other + r * recurrent)),
        }


def _pack(weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> Float[Tensor, "replica rows joint"]:
    """Four blocks of rows: r, z, and the two parts of n between which r stands, the recurrent one before the other."""
    rows, input_size = weight_ih.shape[1:]
    size = rows // 3
    gates, recurrent, of_input = slice(0, 2 * size), slice(2 * size, 3 * size), slice(3 * size, 4 * size)
    packed = weight_ih.new_zeros(len(weight_ih), 4 * size, input_size + 1 + size)
    packed[:, gates, :input_size] = weight_ih[:, gates]
    packed[:, of_input, :input_size] = weight_ih[:, recurrent]
    packed[:, :, input_size] = bias
    packed[:, : 3 * size, input_size + 1 :] = weight_hh
    return packed


def _pack_bias(bias_ih: Tensor, bias_hh: Tensor) -> Float[Tensor, "replica rows"]:
    """The biases of these four blocks."""
    of_ih, of_hh = bias_ih.chunk(3, dim=1), bias_hh.chunk(3, dim=1)
    return torch.cat([of_ih[0] + of_hh[0], of_ih[1] + of_hh[1], of_hh[2], of_ih[2]], dim=1)


def _unpack(gradient: Float[Tensor, "replica rows joint"], input_size: int) -> tuple[Tensor, Tensor]:
    """The gradient of packed weights as that of weight_ih and weight_hh."""
    size = gradient.shape[1] // 4
    without_recurrent = torch.cat([gradient[:, : 2 * size], gradient[:, 3 * size :]], dim=1)
    return without_recurrent[..., :input_size], gradient[:, : 3 * size, input_size + 1 :]


def _unpack_bias(gradient: Float[Tensor, "replica rows"]) -> tuple[Tensor, Tensor]:
    """The gradient of packed biases as that of bias_ih and bias_hh."""
    r, z, recurrent, of_input = gradient.chunk(4, dim=1)
    return torch.cat([r, z, of_input], dim=1), torch.cat([r, z, recurrent], dim=1)


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
        gain: Tensor | None,
        keep: bool,
        options: ScanOptions,
    ) -> tuple[Tensor, Tensor]:
        joint = Joint(inputs, h0)
        num_steps, size, split = len(inputs), h0.shape[-1], joint.input_size + 1
        kept = num_steps if keep else 1
        bias, norm = _pack_bias(bias_ih, bias_hh), None
        if gain is not None:
            norm = LayerNorm(gain, bias, h0, num_steps=kept, factors=[1, 1, 2, 2])
            bias = torch.zeros_like(bias)
        packed = _pack(weight_ih, weight_hh, bias)
        gates = buffers.empty((kept, *h0.shape[:2], 3 * size), h0)
        new = buffers.empty((kept, *h0.shape), h0)
        doubled = packed.clone()
        if norm is None:
            doubled[:, 2 * size :].mul_(2)
        product = StepProduct(doubled[:, : 3 * size], h0.shape[1])
        for_input = doubled[:, 3 * size :, :split].transpose(1, 2)

        before = joint.hidden[0]
        for steps in spans(num_steps):
            rows, gate_steps, new_steps = (per_step(buffer, steps) for buffer in (joint.values, gates, new))
            blocks = (per_step(block, steps) for block in gates.chunk(3, dim=-1))
            from_input = per_step(joint.values[..., :split], steps)
            sigmoids, hidden = per_step(gates[..., : 2 * size], steps), after(joint.hidden, steps)
            for t, row, x, gate, both, r, z, recurrent, n, h in zip(
                steps, rows, from_input, gate_steps, sigmoids, *blocks, new_steps, hidden, strict=True
            ):
                product(row, gate)
                torch.bmm(x, for_input, out=n)
                if norm is not None:
                    norm.forward(t, gate)
                    norm.forward(t, n, first=3)
                both.sigmoid_()
                tanh_of_half(n.addcmul_(r, recurrent), n)
                torch.lerp(n, before, z, out=h)
                before = h

        ctx.save_for_backward(joint.values, gates, new, packed)
        ctx.input_size, ctx.norm, ctx.options = joint.input_size, norm, options
        ctx.set_materialize_grads(False)
        return joint.hidden[1:], joint.read(options.read_steps)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        values, gates, new, packed = ctx.saved_tensors
        options, split, norm = ctx.options, ctx.input_size + 1, ctx.norm
        like, num_steps, size = new[0], len(new), new.shape[-1]
        hidden = values[..., split:]
        direct = Direct(grad_outputs[0], options.read_steps, grad_outputs[1])
        from_state = slice(0, 3 * size)
        product = StepProduct(packed[:, from_state, split:].transpose(1, 2), like.shape[1])
        gradient = Gradient(values, packed, ctx.input_size, of_inputs=ctx.needs_input_grad[0])
        carried = Carried(like, num_steps, recorded=options.recorder is not None)
        sum_of_both, through_z = torch.empty_like(like), torch.empty_like(like)
        if norm is not None:
            norm.begin_backward()

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
            back, deltas = span.deltas[..., from_state].unbind(0), span.deltas.unbind(0)
            for k in range(len(steps) - 1, -1, -1):
                total = add_direct(arriving[k], directs[k], out=sum_of_both)
                in_blocks[k].mul_(total.unsqueeze(-2))
                if norm is not None:
                    norm.backward(steps[k], deltas[k])
                torch.mul(total, keeps[k], out=through_z)
                product(back[k], leaving[k]).add_(through_z)
                if options.edit is not None:
                    options.edit.apply((leaving[k],), steps[k] - 1, num_steps)
            gradient.add(span)

        if options.recorder is not None:
            options.recorder.adjoints["h"] = Adjoint(carried=carried.values, source=direct)
        of_gain, of_bias = (None, gradient.packed[..., ctx.input_size]) if norm is None else norm.gradients()
        of_weights = (*_unpack(gradient.packed, ctx.input_size), *_unpack_bias(of_bias), of_gain)
        return gradient.inputs, carried.initial, *of_weights, None, None
