"""The vanilla (Elman) recurrence."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.products import StepProduct
from rnnstudy.recurrence.activations import ACTIVATIONS, Nonlinearity
from rnnstudy.recurrence.base import Activated, Adjoint, Direct, Recurrence, ScanOptions, States, Weights
from rnnstudy.recurrence.layer_norm import LayerNorm
from rnnstudy.recurrence.scan import (
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
    refuse_second_derivative,
    spans,
    unpack,
    wants_gradient,
)


@dataclass(frozen=True, kw_only=True)
class RNNRecurrence(Recurrence):
    """h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), as torch.nn.RNN, and with other activations.

    With layer normalisation h_t = f(gain * norm(W_ih x_t + W_hh h_{t-1}) + b_ih + b_hh), norm over the units.

    References:
        Elman, Finding structure in time, 1990.
        Ba, Kiros & Hinton, Layer normalization, 2016 (arXiv:1607.06450), equation 4.

    Args:
        nonlinearity: The activation f; "modrelu" has a learnt threshold for each unit.
        layer_norm: Whether to normalise the pre-activations.
    """

    nonlinearity: Nonlinearity = "tanh"
    layer_norm: bool = False

    @property
    @override
    def in_torch(self) -> bool:
        return self.nonlinearity in {"tanh", "relu"} and not self.layer_norm

    @override
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        shapes = affine_shapes(1, input_size, hidden_size)
        if self.layer_norm:
            shapes["gain"] = (hidden_size,)
        if ACTIVATIONS[self.nonlinearity].has_threshold:
            shapes["threshold"] = (hidden_size,)
        return shapes

    @override
    def scan(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        state: States,
        weights: Weights,
        options: ScanOptions,
    ) -> tuple[States, Float[Tensor, "read replica batch hidden"]]:
        others = (weights.get("gain"), weights.get("threshold"))
        keep = wants_gradient(inputs, *state, *weights.values())
        hidden, read = _RNNScan.apply(inputs, state[0], *affine(weights), *others, self.nonlinearity, keep, options)
        return (hidden,), read

    @override
    def activated(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> dict[str, Activated]:
        return {"h": Activated(nonlinearity=self.nonlinearity, values=self.step(inputs, before, weights)[0])}


class _RNNScan(torch.autograd.Function):
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
        threshold: Tensor | None,
        nonlinearity: Nonlinearity,
        keep: bool,
        options: ScanOptions,
    ) -> tuple[Tensor, Tensor]:
        joint = Joint(inputs, h0)
        activation = ACTIVATIONS[nonlinearity]
        apply, num_steps = activation.apply, len(inputs)
        bias, norm = bias_ih + bias_hh, None
        if gain is not None:
            norm = LayerNorm(gain, bias, h0, num_steps=num_steps if keep else 1, factors=[activation.gain])
            bias = torch.zeros_like(bias)
        packed = pack(weight_ih, weight_hh, bias)
        product = StepProduct(packed if norm else packed * activation.gain, h0.shape[1])
        preactivation = torch.empty_like(h0)
        bound = None if threshold is None else threshold.unsqueeze(1)

        for steps in spans(num_steps):
            for t, row, h in zip(steps, per_step(joint.values, steps), after(joint.hidden, steps), strict=True):
                product(row, preactivation)
                if norm is not None:
                    norm.forward(t, preactivation)
                apply(preactivation, bound, h)

        ctx.save_for_backward(joint.values, packed)
        ctx.input_size, ctx.norm, ctx.has_threshold = joint.input_size, norm, threshold is not None
        ctx.nonlinearity, ctx.options = nonlinearity, options
        ctx.set_materialize_grads(False)
        return joint.hidden[1:], joint.read(options.read_steps)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        values, packed = ctx.saved_tensors
        options, size, norm = ctx.options, ctx.input_size, ctx.norm
        direct = Direct(grad_outputs[0], options.read_steps, grad_outputs[1])
        activation = ACTIVATIONS[ctx.nonlinearity]
        hidden = values[..., size + 1 :]
        like, num_steps = hidden[0], len(hidden) - 1
        product = StepProduct(packed[..., size + 1 :].transpose(1, 2), like.shape[1])
        gradient = Gradient(values, packed, size, of_inputs=ctx.needs_input_grad[0])
        carried = Carried(like, num_steps, recorded=options.recorder is not None)
        sum_of_both = torch.empty_like(carried.initial)
        of_threshold = torch.zeros_like(sum_of_both) if ctx.has_threshold else None
        if norm is not None:
            norm.begin_backward()

        for span in backward_spans(num_steps, like, blocks=1):
            steps = span.steps
            activation.slope(hidden[steps.start + 1 : steps.stop + 1], span.deltas)
            arriving, leaving = carried.views(steps)
            directs, deltas = direct.views(steps), span.deltas.unbind(0)
            for k in range(len(steps) - 1, -1, -1):
                total = add_direct(arriving[k], directs[k], out=sum_of_both)
                delta = activation.through(deltas[k], total)
                if of_threshold is not None:
                    of_threshold.addcmul_(delta, hidden[steps[k] + 1].sign())
                if norm is not None:
                    norm.backward(steps[k], delta)
                product(delta, leaving[k])
                if options.edit is not None:
                    options.edit.apply((leaving[k],), steps[k] - 1, num_steps)
            gradient.add(span)

        if options.recorder is not None:
            options.recorder.adjoints["h"] = Adjoint(carried=carried.values, source=direct)
        of_ih, of_hh, of_bias = unpack(gradient.packed, size)
        of_gain, of_bias = (None, of_bias) if norm is None else norm.gradients()
        of_weights = (of_ih, of_hh, of_bias, of_bias.clone(), of_gain)
        of_threshold = None if of_threshold is None else of_threshold.sum(1)
        return gradient.inputs, carried.initial, *of_weights, of_threshold, None, None, None
