"""Long short-term memory recurrence."""

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
from rnnstudy.recurrence.base import Activated, Direct, States, Weights
from rnnstudy.recurrence.layer_norm import norm_of, normalise

_aten = torch.ops.aten


@dataclass(frozen=True, kw_only=True)
class LSTMRecurrence(scan.Scanned):
    """LSTM of torch.nn.LSTM: gates i f g o, no peepholes.

    c_t = f_t c_{t-1} + i_t g_t and h_t = o_t tanh(c_t). With layer normalisation each gate's pre-activation without
    biases, W x_t + U h_{t-1}, is normalised over the units and multiplied by a learnt gain; then the biases are added.

    References:
        Hochreiter & Schmidhuber, Long short-term memory, 1997; Gers, Schmidhuber & Cummins, Learning to forget,
        2000: the forget gate.
        Ba, Kiros & Hinton, Layer normalization, 2016 (arXiv:1607.06450), which normalises inputs and states by
        themselves, all gates together, and the cell state too; here each gate's sum, and not the cell state.

    Args:
        layer_norm: Whether to normalise the pre-activations.
    """

    gate_names: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")

    layer_norm: bool = False

    @property
    @override
    def in_torch(self) -> Callable[..., nn.RNNBase] | None:
        return None if self.layer_norm else nn.LSTM

    @property
    @override
    def states(self) -> tuple[str, ...]:
        return ("h", "c")

    @override
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        gain = {"gain": (4 * hidden_size,)} if self.layer_norm else {}
        return scan.affine_shapes(4, input_size, hidden_size) | gain

    @override
    def forward_scan(
        self, inputs: Float[Tensor, "time replica batch input"], state: States, weights: Weights, *, keep: bool
    ) -> scan.ForwardScan:
        weight_ih, weight_hh, bias_ih, bias_hh = scan.affine(weights)
        (h0, c0), num_steps = state, len(inputs)
        joint, size = scan.Joint(inputs, h0), h0.shape[-1]
        factors, kept = [1, 1, 2, 1], num_steps if keep else 1
        norm, bias = norm_of(weights.get("gain"), bias_ih + bias_hh, h0, num_steps=kept, factors=factors)
        packed = scan.pack(weight_ih, weight_hh, bias)
        product = StepProduct(packed if norm else scan.scale_blocks(packed, factors), h0.shape[1])
        # Kept: the sigmoid of all four blocks, the third of twice its argument: g = tanh(a) = 2 sigmoid(2a) - 1.
        gates = buffers.empty((kept, *h0.shape[:2], 4 * size), h0)
        cell = buffers.empty((num_steps + 1, *h0.shape), h0)
        cell[0].copy_(c0)
        tanh_c, preactivation = torch.empty_like(h0), torch.empty_like(gates[0])

        before = cell[0]
        views = scan.step_by_step(num_steps, joint.values, gates, *gates.chunk(4, dim=-1), cell[1:], joint.hidden[1:])
        for t, (row, gate, i, f, s, o, c, h) in enumerate(views):
            product(row, preactivation)
            if norm is not None:
                norm.forward(t, preactivation)
            torch.sigmoid(preactivation, out=gate)
            torch.mul(f, before, out=c).addcmul_(i, s, value=2).sub_(i)
            scan.tanh_of_half(torch.add(c, c, out=tanh_c), tanh_c)
            torch.mul(o, tanh_c, out=h)
            before = c
        states = (joint.hidden[1:], cell[1:])
        return scan.ForwardScan(states=states, kept=(joint.values, gates, cell, packed), norm=norm)

    @override
    def backward_scan(self, back: scan.BackwardScan) -> scan.Gradients:
        values, gates, cell, packed = back.kept
        like, norm, size = back.like, back.norm, back.like.shape[-1]
        (output_c,) = back.others
        direct_c = buffers.empty((back.num_steps if back.recorded else 1, *like.shape), like)
        carried_c = back.carry("c", Direct(direct_c))
        gradient, product = back.gradient(values, packed)
        total_c = torch.empty_like(like)
        total_c_thrice = total_c.unsqueeze(-2)

        for span in gradient.spans(like):
            s, c = gates[span.during], cell[1:][span.during]
            i, f, new, o = s.chunk(4, dim=-1)
            for_i, for_f, for_new, for_o = span.deltas.chunk(4, dim=-1)
            torch.add(scan.MINUS_ONE, new, alpha=2, out=for_i)
            for_f.copy_(cell[span.during])
            torch.mul(i, 4, out=for_new)
            slope = torch.add(c, c)
            scan.tanh_of_half(slope, for_o)
            _aten.tanh_backward.grad_input(o, for_o, grad_input=slope)
            _aten.sigmoid_backward.grad_input(span.deltas, s, grad_input=span.deltas)

            arriving_c, leaving_c = carried_c.views(span.steps)
            others, throughs = output_c.views(span.steps), scan.per_step(direct_c, span.steps)
            by_cell = span.deltas[..., : 3 * size].unflatten(-1, (3, size)).unbind(0)
            by_output, slopes, forget, deltas = (part.unbind(0) for part in (for_o, slope, f, span.deltas))
            for k, total_h, leaving_h in back.steps(span.steps, beside=lambda t: (carried_c.leaving(t),)):
                through_h = torch.mul(total_h, slopes[k], out=throughs[k])
                if (other := others[k]) is not None:
                    through_h.add_(other)
                torch.add(through_h, arriving_c[k], out=total_c)
                by_cell[k].mul_(total_c_thrice)
                by_output[k].mul_(total_h)
                torch.mul(total_c, forget[k], out=leaving_c[k])
                if norm is not None:
                    norm.backward(span.steps[k], deltas[k])
                product(deltas[k], leaving_h)

        return gradient.inputs, (back.carried.initial, carried_c.initial), gradient.affine(norm)

    @override
    @torch.no_grad()
    def activated(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> dict[str, Activated]:
        weight_ih, weight_hh, bias_ih, bias_hh = scan.affine(weights)
        sums = scan.project(inputs, weight_ih) + scan.project(before[0], weight_hh)
        sums = normalise(sums, bias_ih + bias_hh, weights.get("gain"), blocks=4)
        i, f, g, o = sums.chunk(4, dim=-1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        return {
            "i": Activated(nonlinearity="sigmoid", values=i),
            "f": Activated(nonlinearity="sigmoid", values=f),
            "g": Activated(nonlinearity="tanh", values=g),
            "o": Activated(nonlinearity="sigmoid", values=o),
            "tanh_c": Activated(nonlinearity="tanh", values=torch.tanh(f * before[1] + i * g)),
        }
