"""The vanilla (Elman) recurrence."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.products import StepProduct
from rnnstudy.recurrence.base import Adjoint, CellWeights, Direct, Recurrence, ScanOptions, States
from rnnstudy.recurrence.scan import (
    Carried,
    Gradient,
    Joint,
    add_direct,
    after,
    backward_spans,
    pack,
    per_step,
    refuse_second_derivative,
    spans,
    tanh_of_half,
    unpack,
)

Nonlinearity = Literal["tanh", "sigmoid", "relu"]


_aten = torch.ops.aten


@dataclass(frozen=True, kw_only=True)
class Activation:
    """A nonlinearity, and its derivative in two parts: what can be computed for many steps at once, and the rest.

    Args:
        gain: What the pre-activation is multiplied by before `apply`.
        apply: Of the pre-activation, which may be overwritten, into the second argument.
        slope: Of the output, into the second argument.
        through: Of the slope, overwritten, and the adjoint of the output: the adjoint of the pre-activation.
    """

    gain: int = 1
    apply: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], object]
    through: Callable[[Tensor, Tensor], Tensor]


def _tanh_slope(output: Tensor, out: Tensor) -> Tensor:
    return torch.addcmul(output.new_ones(()), output, output, value=-1, out=out)


def _sigmoid_slope(output: Tensor, out: Tensor) -> Tensor:
    return torch.addcmul(output, output, output, value=-1, out=out)


def _sigmoid(values: Tensor, out: Tensor) -> Tensor:
    return torch.sigmoid(values, out=out)


def _relu(values: Tensor, out: Tensor) -> Tensor:
    return torch.clamp_min(values, 0, out=out)


def _copy(output: Tensor, out: Tensor) -> Tensor:
    return out.copy_(output)


def _through_relu(output: Tensor, total: Tensor) -> Tensor:
    return _aten.threshold_backward.grad_input(total, output, 0, grad_input=output)


ACTIVATIONS: dict[Nonlinearity, Activation] = {
    "tanh": Activation(gain=2, apply=tanh_of_half, slope=_tanh_slope, through=Tensor.mul_),
    "sigmoid": Activation(apply=_sigmoid, slope=_sigmoid_slope, through=Tensor.mul_),
    "relu": Activation(apply=_relu, slope=_copy, through=_through_relu),
}
"""As in torch: relu'(0) = 0, and no gradient passes a relu that is off, not even one that is not finite."""


@dataclass(frozen=True, kw_only=True)
class RNNRecurrence(Recurrence):
    """h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), as torch.nn.RNN, and with a sigmoid.

    References:
        Elman, Finding structure in time, 1990.

    Args:
        nonlinearity: The activation f.
    """

    states: ClassVar[tuple[str, ...]] = ("h",)
    gates: ClassVar[int] = 1

    nonlinearity: Nonlinearity = "tanh"

    @override
    def scan(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        state: States,
        weights: CellWeights,
        options: ScanOptions,
    ) -> tuple[States, Float[Tensor, "read replica batch hidden"]]:
        hidden, read = _RNNScan.apply(inputs, state[0], *weights.tensors(), self.nonlinearity, options)
        return (hidden,), read


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
        nonlinearity: Nonlinearity,
        options: ScanOptions,
    ) -> tuple[Tensor, Tensor]:
        packed = pack(CellWeights(weight_ih=weight_ih, weight_hh=weight_hh, bias_ih=bias_ih, bias_hh=bias_hh))
        joint = Joint(inputs, h0)
        activation = ACTIVATIONS[nonlinearity]
        apply = activation.apply
        product = StepProduct(packed * activation.gain, h0.shape[1])
        preactivation = torch.empty_like(h0)

        for steps in spans(len(inputs)):
            for row, h in zip(per_step(joint.values, steps), after(joint.hidden, steps), strict=True):
                apply(product(row, preactivation), h)

        ctx.save_for_backward(joint.values, packed)
        ctx.input_size = joint.input_size
        ctx.nonlinearity, ctx.options = nonlinearity, options
        ctx.set_materialize_grads(False)
        return joint.hidden[1:], joint.read(options.read_steps)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        values, packed = ctx.saved_tensors
        options, size = ctx.options, ctx.input_size
        direct = Direct(grad_outputs[0], options.read_steps, grad_outputs[1])
        activation = ACTIVATIONS[ctx.nonlinearity]
        hidden = values[..., size + 1 :]
        like, num_steps = hidden[0], len(hidden) - 1
        product = StepProduct(packed[..., size + 1 :].transpose(1, 2), like.shape[1])
        gradient = Gradient(values, packed, size, of_inputs=ctx.needs_input_grad[0])
        carried = Carried(like, num_steps, recorded=options.recorder is not None)
        sum_of_both = torch.empty_like(carried.initial)

        for span in backward_spans(num_steps, like, blocks=1):
            steps = span.steps
            activation.slope(hidden[steps.start + 1 : steps.stop + 1], span.deltas)
            arriving, leaving = carried.views(steps)
            directs, deltas = direct.views(steps), span.deltas.unbind(0)
            for k in range(len(steps) - 1, -1, -1):
                total = add_direct(arriving[k], directs[k], out=sum_of_both)
                product(activation.through(deltas[k], total), leaving[k])
                if options.edit is not None:
                    options.edit.apply((leaving[k],), steps[k] - 1, num_steps)
            gradient.add(span)

        if options.recorder is not None:
            options.recorder.adjoints["h"] = Adjoint(carried=carried.values, source=direct)
        return gradient.inputs, carried.initial, *unpack(gradient.packed, size), None, None
