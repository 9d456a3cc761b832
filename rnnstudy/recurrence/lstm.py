"""The long short-term memory recurrence."""

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
    MINUS_ONE,
    Carried,
    Gradient,
    Joint,
    add_direct,
    affine,
    affine_shapes,
    after,
    backward_spans,
    pack,
    per_step,
    project,
    refuse_second_derivative,
    spans,
    tanh_of_half,
    unpack,
    wants_gradient,
)

_aten = torch.ops.aten


@dataclass(frozen=True, kw_only=True)
class LSTMRecurrence(Recurrence):
    """The LSTM of torch.nn.LSTM: gates i f g o, no peepholes.

    c_t = f_t c_{t-1} + i_t g_t and h_t = o_t tanh(c_t). With layer normalisation each gate's pre-activation without its
    biases, W x_t + U h_{t-1}, is normalised over the units, multiplied by a learnt gain, and the biases are added.

    References:
        Hochreiter & Schmidhuber, Long short-term memory, 1997; Gers, Schmidhuber & Cummins, Learning to forget,
        2000: the forget gate.
        Ba, Kiros & Hinton, Layer normalization, 2016 (arXiv:1607.06450): there inputs and states are normalised by
        themselves, all gates together, and the cell state too; here each gate's sum, and the cell state is left alone.

    Args:
        layer_norm: Whether to normalise the pre-activations.
    """

    gate_names: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")

    layer_norm: bool = False

    @property
    @override
    def in_torch(self) -> bool:
        return not self.layer_norm

    @property
    @override
    def states(self) -> tuple[str, ...]:
        return ("h", "c")

    @override
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        gain = {"gain": (4 * hidden_size,)} if self.layer_norm else {}
        return affine_shapes(4, input_size, hidden_size) | gain

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
        hidden, cell, read = _LSTMScan.apply(inputs, *state, *affine(weights), gain, keep, options)
        return (hidden, cell), read

    @override
    @torch.no_grad()
    def activated(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> dict[str, Activated]:
        weight_ih, weight_hh, bias_ih, bias_hh = affine(weights)
        sums = project(inputs, weight_ih) + project(before[0], weight_hh)
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


class _LSTMScan(torch.autograd.Function):
    """Keeps s, the sigmoid of all four blocks, the third of twice its argument: g = tanh(a) = 2 sigmoid(2a) - 1."""

    @staticmethod
    @override
    def forward(
        ctx: Any,
        inputs: Tensor,
        h0: Tensor,
        c0: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        gain: Tensor | None,
        keep: bool,
        options: ScanOptions,
    ) -> tuple[Tensor, Tensor, Tensor]:
        joint = Joint(inputs, h0)
        num_steps, size = len(inputs), h0.shape[-1]
        bias, norm = bias_ih + bias_hh, None
        if gain is not None:
            norm = LayerNorm(gain, bias, h0, num_steps=num_steps if keep else 1, factors=[1, 1, 2, 1])
            bias = torch.zeros_like(bias)
        packed = pack(weight_ih, weight_hh, bias)
        gates = buffers.empty((num_steps if keep else 1, *h0.shape[:2], 4 * size), h0)
        cell = buffers.empty((num_steps + 1, *h0.shape), h0)
        cell[0].copy_(c0)
        tanh_c, preactivation = torch.empty_like(h0), torch.empty_like(gates[0])
        doubled = packed.clone()
        if norm is None:
            doubled[:, 2 * size : 3 * size].mul_(2)
        product = StepProduct(doubled, h0.shape[1])

        before = cell[0]
        for steps in spans(num_steps):
            rows, gate_steps = per_step(joint.values, steps), per_step(gates, steps)
            blocks = (per_step(block, steps) for block in gates.chunk(4, dim=-1))
            hidden, cells = after(joint.hidden, steps), after(cell, steps)
            for t, row, gate, i, f, s, o, c, h in zip(steps, rows, gate_steps, *blocks, cells, hidden, strict=True):
                product(row, preactivation)
                if norm is not None:
                    norm.forward(t, preactivation)
                torch.sigmoid(preactivation, out=gate)
                torch.mul(f, before, out=c).addcmul_(i, s, value=2).sub_(i)
                tanh_of_half(torch.add(c, c, out=tanh_c), tanh_c)
                torch.mul(o, tanh_c, out=h)
                before = c

        ctx.save_for_backward(joint.values, gates, cell, packed)
        ctx.input_size, ctx.norm, ctx.options = joint.input_size, norm, options
        ctx.set_materialize_grads(False)
        return joint.hidden[1:], cell[1:], joint.read(options.read_steps)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        values, gates, cell, packed = ctx.saved_tensors
        options, recorded, norm = ctx.options, ctx.options.recorder is not None, ctx.norm
        like, num_steps, size = cell[0], len(gates), cell.shape[-1]
        direct_h = Direct(grad_outputs[0], options.read_steps, grad_outputs[2])
        output_c = Direct(grad_outputs[1])
        product = StepProduct(packed[..., ctx.input_size + 1 :].transpose(1, 2), like.shape[1])
        gradient = Gradient(values, packed, ctx.input_size, of_inputs=ctx.needs_input_grad[0])
        carried_h = Carried(like, num_steps, recorded=recorded)
        carried_c = Carried(like, num_steps, recorded=recorded)
        direct_c = buffers.empty((num_steps if recorded else 1, *like.shape), like)
        sum_of_both, total_c = torch.empty_like(like), torch.empty_like(like)
        total_c_thrice = total_c.unsqueeze(-2)
        if norm is not None:
            norm.begin_backward()

        for span in backward_spans(num_steps, like, blocks=4):
            steps = span.steps
            s, c = gates[steps.start : steps.stop], cell[steps.start + 1 : steps.stop + 1]
            i, f, new, o = s.chunk(4, dim=-1)
            for_i, for_f, for_new, for_o = span.deltas.chunk(4, dim=-1)
            torch.add(MINUS_ONE, new, alpha=2, out=for_i)
            for_f.copy_(cell[steps.start : steps.stop])
            torch.mul(i, 4, out=for_new)
            slope = torch.add(c, c)
            tanh_of_half(slope, for_o)
            _aten.tanh_backward.grad_input(o, for_o, grad_input=slope)
            _aten.sigmoid_backward.grad_input(span.deltas, s, grad_input=span.deltas)

            arriving_h, leaving_h = carried_h.views(steps)
            arriving_c, leaving_c = carried_c.views(steps)
            directs, others, throughs = direct_h.views(steps), output_c.views(steps), per_step(direct_c, steps)
            by_cell = span.deltas[..., : 3 * size].unflatten(-1, (3, size)).unbind(0)
            by_output, slopes, forget, deltas = (part.unbind(0) for part in (for_o, slope, f, span.deltas))
            for k in range(len(steps) - 1, -1, -1):
                total_h = add_direct(arriving_h[k], directs[k], out=sum_of_both)
                through_h = torch.mul(total_h, slopes[k], out=throughs[k])
                if (other := others[k]) is not None:
                    through_h.add_(other)
                torch.add(through_h, arriving_c[k], out=total_c)
                by_cell[k].mul_(total_c_thrice)
                by_output[k].mul_(total_h)
                torch.mul(total_c, forget[k], out=leaving_c[k])
                if norm is not None:
                    norm.backward(steps[k], deltas[k])
                product(deltas[k], leaving_h[k])
                if options.edit is not None:
                    options.edit.apply((leaving_h[k], leaving_c[k]), steps[k] - 1, num_steps)
            gradient.add(span)

        if recorded:
            options.recorder.adjoints["h"] = Adjoint(carried=carried_h.values, source=direct_h)
            options.recorder.adjoints["c"] = Adjoint(carried=carried_c.values, source=Direct(direct_c))
        of_ih, of_hh, of_bias = unpack(gradient.packed, ctx.input_size)
        of_gain, of_bias = (None, of_bias) if norm is None else norm.gradients()
        of_weights = (of_ih, of_hh, of_bias, of_bias.clone(), of_gain)
        return gradient.inputs, carried_h.initial, carried_c.initial, *of_weights, None, None
