"""Gated recurrent unit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from rnnstudy.core import buffers
from rnnstudy.core.products import StepProduct
from rnnstudy.recurrence import scan
from rnnstudy.recurrence.base import Activated, States, Weights
from rnnstudy.recurrence.layer_norm import norm_of, normalise

_aten = torch.ops.aten


@dataclass(frozen=True, kw_only=True)
class GRURecurrence(scan.Scanned):
    """GRU of torch.nn.GRU: gates r z n, the reset gate applied after the recurrent product.

    n_t = tanh(W_in x_t + b_in + r_t (W_hn h_{t-1} + b_hn)) and h_t = (1 - z_t) n_t + z_t h_{t-1}. With layer
    normalisation the pre-activations of r and z and both parts of that of n, all without biases, are normalised over
    the units. Learnt gains (in the order r, z, recurrent part of n, other part of n) multiply them; then the biases
    are added.

    References:
        Cho et al., Learning phrase representations, 2014 (arXiv:1406.1078), version 1: this place of the reset
        gate; the published version applies it before the product.
        Ba, Kiros & Hinton, Layer normalization, 2016 (arXiv:1607.06450), which normalises inputs and states by
        themselves, and r and z together.

    Args:
        layer_norm: Whether to normalise the pre-activations.
    """

    gate_names: ClassVar[tuple[str, ...]] = ("r", "z", "n")

    layer_norm: bool = False

    @property
    @override
    def in_torch(self) -> Callable[..., nn.RNNBase] | None:
        return None if self.layer_norm else nn.GRU

    @override
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        gain = {"gain": (4 * hidden_size,)} if self.layer_norm else {}
        return scan.affine_shapes(3, input_size, hidden_size) | gain

    @override
    def forward_scan(
        self, inputs: Float[Tensor, "time replica batch input"], state: States, weights: Weights, *, keep: bool
    ) -> scan.ForwardScan:
        weight_ih, weight_hh, bias_ih, bias_hh = scan.affine(weights)
        (h0,), num_steps = state, len(inputs)
        joint, size, split = scan.Joint(inputs, h0), h0.shape[-1], inputs.shape[-1] + 1
        factors, kept = [1, 1, 2, 2], num_steps if keep else 1
        norm, bias = norm_of(weights.get("gain"), _pack_bias(bias_ih, bias_hh), h0, num_steps=kept, factors=factors)
        packed = _pack(weight_ih, weight_hh, bias)
        # Kept: three blocks (r, z and twice the recurrent part of n), and n itself.
        gates = buffers.empty((kept, *h0.shape[:2], 3 * size), h0)
        new = buffers.empty((kept, *h0.shape), h0)
        scaled = packed if norm else scan.scale_blocks(packed, factors)
        product = StepProduct(scaled[:, : 3 * size], h0.shape[1])
        for_input = scaled[:, 3 * size :, :split].transpose(1, 2)

        before = joint.hidden[0]
        blocks = (gates[..., : 2 * size], *gates.chunk(3, dim=-1))
        x = joint.values[..., :split]
        views = scan.step_by_step(num_steps, joint.values, x, gates, *blocks, new, joint.hidden[1:])
        for t, (row, x, gate, both, r, z, recurrent, n, h) in enumerate(views):
            product(row, gate)
            torch.bmm(x, for_input, out=n)
            if norm is not None:
                norm.forward(t, gate)
                norm.forward(t, n, first=3)
            both.sigmoid_()
            scan.tanh_of_half(n.addcmul_(r, recurrent), n)
            torch.lerp(n, before, z, out=h)
            before = h
        return scan.ForwardScan(states=(joint.hidden[1:],), kept=(joint.values, gates, new, packed), norm=norm)

    @override
    def backward_scan(self, back: scan.BackwardScan) -> scan.Gradients:
        values, gates, new, weights = back.kept
        norm, size, hidden = back.norm, back.like.shape[-1], values[..., back.input_size + 1 :]
        gradient, product = back.gradient(values, weights, rows=3 * size)
        through_z = torch.empty_like(back.like)

        for span in gradient.spans(back.like):
            r, z, recurrent = gates[span.during].chunk(3, dim=-1)
            for_r, for_z, for_recurrent, for_n = span.deltas.chunk(4, dim=-1)
            n = new[span.during]
            torch.sub(1, z, out=for_n)
            _aten.tanh_backward.grad_input(for_n, n, grad_input=for_n)
            torch.mul(for_n, r, out=for_recurrent)
            torch.mul(for_n, recurrent, out=for_r).mul_(0.5)
            torch.sub(hidden[span.during], n, out=for_z)
            both = span.deltas[..., : 2 * size]
            _aten.sigmoid_backward.grad_input(both, gates[span.during][..., : 2 * size], grad_input=both)

            keeps, in_blocks = z.unbind(0), span.deltas.unflatten(-1, (4, size)).unbind(0)
            from_state, deltas = span.deltas[..., : 3 * size].unbind(0), span.deltas.unbind(0)
            for k, total, leaving in back.steps(span.steps):
                in_blocks[k].mul_(total.unsqueeze(-2))
                if norm is not None:
                    norm.backward(span.steps[k], deltas[k])
                torch.mul(total, keeps[k], out=through_z)
                product(from_state[k], leaving).add_(through_z)

        packed, before = gradient.packed, back.input_size
        gains, of_bias = ({}, packed[..., before]) if norm is None else norm.gradients()
        of_ih, of_hh = _of_input(packed)[..., :before], _of_state(packed)[..., before + 1 :]
        of_weights = (of_ih, of_hh, _of_input(of_bias), _of_state(of_bias).clone())
        return gradient.inputs, (back.carried.initial,), dict(zip(scan.AFFINE, of_weights, strict=True)) | gains

    @override
    @torch.no_grad()
    def activated(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> dict[str, Activated]:
        weight_ih, weight_hh, bias_ih, bias_hh = scan.affine(weights)
        r, z, other = scan.project(inputs, weight_ih).chunk(3, dim=-1)
        of_r, of_z, recurrent = scan.project(before[0], weight_hh).chunk(3, dim=-1)
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
    """Pack four blocks of rows: r, z, and the two parts of n, first the recurrent one, which r multiplies."""
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
    """Pack the biases of these four blocks."""
    of_ih, of_hh = bias_ih.chunk(3, dim=1), bias_hh.chunk(3, dim=1)
    return torch.cat([of_ih[0] + of_hh[0], of_ih[1] + of_hh[1], of_hh[2], of_ih[2]], dim=1)


def _of_input(gradient: Float[Tensor, "replica rows ..."]) -> Tensor:
    """Return, from the gradients of these four blocks, those of r, z, and the part of n that the input enters."""
    size = gradient.shape[1] // 4
    return torch.cat([gradient[:, : 2 * size], gradient[:, 3 * size :]], dim=1)


def _of_state(gradient: Float[Tensor, "replica rows ..."]) -> Tensor:
    """Return those of r, z, and the part of n that the state enters."""
    return gradient[:, : 3 * (gradient.shape[1] // 4)]
