"""Recurrences whose state keeps part of itself: leaky and residual."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core import buffers
from rnnstudy.core.errors import ConfigError, require_above, require_finite
from rnnstudy.core.products import StepProduct
from rnnstudy.recurrence.activations import ACTIVATIONS
from rnnstudy.recurrence.base import Activated, Adjoint, Direct, Recurrence, ScanOptions, States, Weights
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
    project,
    refuse_second_derivative,
    spans,
    unpack,
    wants_gradient,
)


@dataclass(frozen=True, kw_only=True)
class ResidualRecurrence(Recurrence):
    """h_t = keep * h_{t-1} + rate * tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    "leaky" keeps 1 - rate of the state (with the rate 1 it is the vanilla recurrence), "residual" keeps all of it.

    References:
        Jaeger, Lukosevicius, Popovici & Siewert, Optimization and applications of echo state networks with
        leaky-integrator neurons, 2007: "leaky", with the leak inside the activation's argument left out.
        Chang, Chen, Haber & Chi, AntisymmetricRNN, 2019 (arXiv:1902.09689), equation 5: "residual", an Euler step.

    Args:
        variant: What is kept.
        rate: The share that is new, above 0; at most 1 if leaky.
    """

    variant: Literal["leaky", "residual"] = "leaky"
    rate: float = 0.5

    def __post_init__(self) -> None:
        require_above("rate", self.rate, 0)
        require_finite("rate", self.rate)
        if self.variant == "leaky" and self.rate > 1:
            raise ConfigError(f"rate must be at most 1 where variant is leaky, got {self.rate}.")

    @property
    def keep(self) -> float:
        """The share of the state that is kept."""
        return 1 - self.rate if self.variant == "leaky" else 1.0

    @override
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        return affine_shapes(1, input_size, hidden_size)

    @override
    def scan(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        state: States,
        weights: Weights,
        options: ScanOptions,
    ) -> tuple[States, Float[Tensor, "read replica batch hidden"]]:
        keep = wants_gradient(inputs, *state, *weights.values())
        hidden, read = _ResidualScan.apply(inputs, state[0], *affine(weights), self, keep, options)
        return (hidden,), read

    @override
    @torch.no_grad()
    def activated(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> dict[str, Activated]:
        weight_ih, weight_hh, bias_ih, bias_hh = affine(weights)
        preactivations = project(inputs, weight_ih, bias_ih + bias_hh) + project(before[0], weight_hh)
        return {"new": Activated(nonlinearity="tanh", values=torch.tanh(preactivations))}


class _ResidualScan(torch.autograd.Function):
    """Keeps the activation of every step beside the states."""

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
        cell: ResidualRecurrence,
        keep: bool,
        options: ScanOptions,
    ) -> tuple[Tensor, Tensor]:
        packed = pack(weight_ih, weight_hh, bias_ih + bias_hh)
        joint = Joint(inputs, h0)
        activation, num_steps = ACTIVATIONS["tanh"], len(inputs)
        new = buffers.empty((num_steps if keep else 1, *h0.shape), h0)
        product = StepProduct(packed * activation.gain, h0.shape[1])
        preactivation = torch.empty_like(h0)

        before = joint.hidden[0]
        for steps in spans(num_steps):
            rows, news = per_step(joint.values, steps), per_step(new, steps)
            for row, n, h in zip(rows, news, after(joint.hidden, steps), strict=True):
                activation.apply(product(row, preactivation), None, n)
                if cell.keep == 1:
                    torch.add(before, n, alpha=cell.rate, out=h)
                else:
                    torch.lerp(before, n, cell.rate, out=h)
                before = h

        ctx.save_for_backward(joint.values, new, packed)
        ctx.input_size, ctx.cell, ctx.options = joint.input_size, cell, options
        ctx.set_materialize_grads(False)
        return joint.hidden[1:], joint.read(options.read_steps)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        values, new, packed = ctx.saved_tensors
        options, size, cell = ctx.options, ctx.input_size, ctx.cell
        direct = Direct(grad_outputs[0], options.read_steps, grad_outputs[1])
        activation = ACTIVATIONS["tanh"]
        like, num_steps = new[0], len(new)
        product = StepProduct(packed[..., size + 1 :].transpose(1, 2), like.shape[1])
        gradient = Gradient(values, packed, size, of_inputs=ctx.needs_input_grad[0])
        carried = Carried(like, num_steps, recorded=options.recorder is not None)
        sum_of_both = torch.empty_like(carried.initial)

        for span in backward_spans(num_steps, like, blocks=1):
            steps = span.steps
            activation.slope(new[steps.start : steps.stop], span.deltas)
            span.deltas.mul_(cell.rate)
            arriving, leaving = carried.views(steps)
            directs, deltas = direct.views(steps), span.deltas.unbind(0)
            for k in range(len(steps) - 1, -1, -1):
                total = add_direct(arriving[k], directs[k], out=sum_of_both)
                # Where nothing is added and nothing recorded, what arrives and what leaves share their memory.
                kept = total * cell.keep
                product(activation.through(deltas[k], total), leaving[k]).add_(kept)
                if options.edit is not None:
                    options.edit.apply((leaving[k],), steps[k] - 1, num_steps)
            gradient.add(span)

        if options.recorder is not None:
            options.recorder.adjoints["h"] = Adjoint(carried=carried.values, source=direct)
        of_ih, of_hh, of_bias = unpack(gradient.packed, size)
        of_weights = (of_ih, of_hh, of_bias, of_bias.clone())
        return gradient.inputs, carried.initial, *of_weights, None, None, None
