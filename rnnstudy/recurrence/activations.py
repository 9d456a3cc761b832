"""Activations of a hidden state, and their derivatives in the form that a scan needs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnstudy.recurrence.base import Nonlinearity
from rnnstudy.recurrence.scan import tanh_of_half

_aten = torch.ops.aten


@dataclass(frozen=True, kw_only=True)
class Activation:
    """A nonlinearity, and its derivative in two parts: what can be computed for many steps at once, and the rest.

    Args:
        gain: Factor of the pre-activation before `apply`.
        apply: Maps the pre-activation, which may be overwritten, and the threshold, if any, into the last argument.
        slope: Computes the first part of the derivative from the output, into the second argument.
        through: Turns the slope, overwritten, and the adjoint of the output into the adjoint of the pre-activation.
        has_threshold: Whether every unit learns a threshold of its own.
    """

    gain: int = 1
    apply: Callable[[Tensor, Tensor | None, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], object]
    through: Callable[[Tensor, Tensor], Tensor]
    has_threshold: bool = False

    def derivative(self, output: Tensor) -> Tensor:
        """Return the derivative with respect to the pre-activation where the output is `output`; a new tensor."""
        slope = torch.empty_like(output)
        self.slope(output, slope)
        return self.through(slope, torch.ones_like(output))


def _modrelu(values: Tensor, threshold: Tensor | None, out: Tensor) -> Tensor:
    assert threshold is not None
    sign = torch.sign(values)
    return torch.mul(values.abs_().add_(threshold).clamp_min_(0), sign, out=out)


def _tanh_slope(output: Tensor, out: Tensor) -> Tensor:
    return torch.addcmul(output.new_ones(()), output, output, value=-1, out=out)


def _through_relu(output: Tensor, total: Tensor) -> Tensor:
    return _aten.threshold_backward.grad_input(total, output, 0, grad_input=output)


ACTIVATIONS: dict[Nonlinearity, Activation] = {
    "tanh": Activation(
        gain=2, apply=lambda doubled, _, out: tanh_of_half(doubled, out), slope=_tanh_slope, through=Tensor.mul_
    ),
    "sigmoid": Activation(
        apply=lambda values, _, out: torch.sigmoid(values, out=out),
        slope=lambda output, out: torch.addcmul(output, output, output, value=-1, out=out),
        through=Tensor.mul_,
    ),
    "relu": Activation(
        apply=lambda values, _, out: torch.clamp_min(values, 0, out=out),
        slope=lambda output, out: out.copy_(output),
        through=_through_relu,
    ),
    "identity": Activation(
        apply=lambda values, _, out: out.copy_(values), slope=lambda _, out: out.fill_(1), through=Tensor.mul_
    ),
    "modrelu": Activation(
        apply=_modrelu, slope=lambda output, out: torch.abs(output, out=out), through=_through_relu, has_threshold=True
    ),
}
"""Activations by name; as in torch, relu'(0) = 0, and a relu that is off passes no gradient, not even a non-finite one.

modReLU (Arjovsky, Shah & Bengio, Unitary evolution recurrent neural networks, 2016, arXiv:1511.06464, section 4.2;
here of real numbers) is sign(a) relu(|a| + threshold): it keeps the sign, and with the threshold 0 everything.
"""
