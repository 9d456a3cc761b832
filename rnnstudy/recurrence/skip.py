"""The recurrence with a skip connection through time."""

from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core import buffers
from rnnstudy.core.errors import require_between
from rnnstudy.core.products import StepProduct
from rnnstudy.recurrence.activations import ACTIVATIONS
from rnnstudy.recurrence.base import Activated, Adjoint, Direct, Recurrence, ScanOptions, States, Weights
from rnnstudy.recurrence.scan import (
    Carried,
    Gradient,
    add_direct,
    affine,
    affine_shapes,
    backward_spans,
    pack,
    per_step,
    read_out,
    refuse_second_derivative,
    spans,
    unpack,
)


@dataclass(frozen=True, kw_only=True)
class SkipRecurrence(Recurrence):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh + W_skip h_{t-skip}).

    A sequence is continued from the last `skip` hidden states: beside h_t these are the states "h-1" to "h-(skip-1)",
    "h-k" at time step t being h_{t-k}. Their adjoints are what travels back on the skip connections; dL/dh_t has all
    that reaches h_t through t + 1 and through t + skip.

    References:
        Lin, Horne, Tino & Giles, Learning long-term dependencies in NARX recurrent neural networks, 1996.
        Zhang et al., Architectural complexity measures of recurrent neural networks, 2016 (arXiv:1602.08210), section
        4.2: skip connections of one length s.

    Args:
        skip: Time steps that the connection spans, 2 to 1000; as many states are kept.
    """

    skip: int = 3

    def __post_init__(self) -> None:
        require_between("skip", self.skip, 2, 1000)

    @property
    @override
    def states(self) -> tuple[str, ...]:
        return ("h", *(f"h-{back}" for back in range(1, self.skip)))

    @property
    @override
    def recorded(self) -> tuple[str, ...]:
        return ("h",)

    @override
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        return affine_shapes(1, input_size, hidden_size) | {"weight_skip": (hidden_size, hidden_size)}

    @override
    def scan(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        state: States,
        weights: Weights,
        options: ScanOptions,
    ) -> tuple[States, Float[Tensor, "read replica batch hidden"]]:
        *states, read = _SkipScan.apply(inputs, *affine(weights), weights["weight_skip"], options, *state)
        return tuple(states), read

    @override
    def activated(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> dict[str, Activated]:
        return {"h": Activated(nonlinearity="tanh", values=self.step(inputs, before, weights)[0])}


class _SkipScan(torch.autograd.Function):
    """Row t is [x_t, 1, h_{t-1}, h_{t-skip}]; rows before the first hold the states before h_{-1}."""

    @staticmethod
    @override
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        weight_skip: Tensor,
        options: ScanOptions,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        skip, h0, num_steps = len(state), state[0], len(inputs)
        size, before = h0.shape[-1], inputs.shape[-1] + 1
        packed = pack(weight_ih, torch.cat([weight_hh, weight_skip], dim=-1), bias_ih + bias_hh)
        values = buffers.empty((skip + num_steps, *h0.shape[:2], before + 2 * size), h0)
        rows, history = values[skip - 1 :], values[..., before : before + size]
        rows[:num_steps, ..., : before - 1].copy_(inputs)
        rows[..., before - 1] = 1
        for back, earlier in enumerate(state):
            history[skip - 1 - back].copy_(earlier)
        skipped = rows[..., before + size :]
        skipped[:skip].copy_(history[:skip][: len(skipped)])
        activation = ACTIVATIONS["tanh"]
        product = StepProduct(packed * activation.gain, h0.shape[1])
        preactivation = torch.empty_like(h0)

        for steps in spans(num_steps):
            for t, row in zip(steps, per_step(rows, steps), strict=True):
                h = activation.apply(product(row, preactivation), None, history[skip + t])
                if t + skip < num_steps:
                    skipped[t + skip].copy_(h)

        ctx.save_for_backward(values, packed)
        ctx.input_size, ctx.options, ctx.skip = before - 1, options, skip
        ctx.set_materialize_grads(False)
        states = [history[skip - back : skip - back + num_steps] for back in range(skip)]
        return *states, read_out(states[0], options.read_steps)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        values, packed = ctx.saved_tensors
        options, inputs, skip = ctx.options, ctx.input_size, ctx.skip
        direct = Direct(grad_outputs[0], options.read_steps, grad_outputs[-1])
        others = [Direct(arriving) for arriving in grad_outputs[1:-1]]
        activation = ACTIVATIONS["tanh"]
        size = (values.shape[-1] - inputs - 1) // 2
        history = values[..., inputs + 1 : inputs + 1 + size]
        like, num_steps = torch.empty_like(history[0]), len(values) - skip
        product = StepProduct(packed[..., inputs + 1 :].transpose(1, 2), like.shape[1])
        gradient = Gradient(values[skip - 1 :], packed, inputs, of_inputs=ctx.needs_input_grad[0])
        carried = Carried(like, num_steps, recorded=options.recorder is not None)
        sum_of_both = torch.empty_like(like)
        # What a step sends back to the last state and to the skipped one; the second part is on its way for a while.
        sent = like.new_zeros(*like.shape[:2], 2 * size)
        travelling = deque(torch.zeros_like(sent) for _ in range(skip - 1))

        for span in backward_spans(num_steps, like, blocks=1):
            steps = span.steps
            activation.slope(history[skip + steps.start : skip + steps.stop], span.deltas)
            arriving, leaving = carried.views(steps)
            directs, deltas = direct.views(steps), span.deltas.unbind(0)
            beside = [each.views(steps) for each in others]
            for k in range(len(steps) - 1, -1, -1):
                for moving, arrives in zip(travelling, beside, strict=True):
                    if (more := arrives[k]) is not None:
                        moving[..., size:].add_(more)
                total = add_direct(arriving[k], directs[k], out=sum_of_both)
                product(activation.through(deltas[k], total), sent)
                joining = travelling.popleft()
                torch.add(sent[..., :size], joining[..., size:], out=leaving[k])
                travelling.append(sent)
                sent = joining
                if options.edit is not None:
                    moved = (moving[..., size:] for moving in travelling)
                    options.edit.apply((leaving[k], *moved), steps[k] - 1, num_steps)
            gradient.add(span)

        if options.recorder is not None:
            options.recorder.adjoints["h"] = Adjoint(carried=carried.values, source=direct)
        of_ih, of_states, of_bias = unpack(gradient.packed, inputs)
        of_hh, of_skip = of_states.split(size, dim=-1)
        of_weights = (of_ih, of_hh, of_bias, of_bias.clone(), of_skip)
        return (
            gradient.inputs,
            *of_weights,
            None,
            carried.initial,
            *(moving[..., size:].clone() for moving in travelling),
        )
