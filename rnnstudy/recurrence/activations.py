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
        gain: What the pre-activation is multiplied by before `apply`.
        apply: Of the pre-activation, which may be overwritten, and the threshold, if it has one; into the last one.
        slope: Of the output, into the second argument.
        through: Of the slope, overwritten, and the adjoint of the output: the adjoint of the pre-activation.
        has_threshold: Whether every unit has a threshold of its own, which is learnt.
    """

    gain: int = 1
    apply: Callable[[Tensor, Tensor | None, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], object]
    through: Callable[[Tensor, Tensor], Tensor]
    has_threshold: bool = False

    def derivative(self, output: Tensor) -> Tensor:
        """Its derivative with respect to the pre-activation, where it put out `output`; a new tensor."""
        slope = torch.empty_like(output)
        self.slope(output, slope)
        return self.through(slope, torch.ones_like(output))


def _tanh(doubled: Tensor, threshold: Tensor | None, out: Tensor) -> Tensor:
    return tanh_of_half(doubled, out)


def _sigmoid(values: Tensor, threshold: Tensor | None, out: Tensor) -> Tensor:
    return torch.sigmoid(values, out=out)


def _relu(values: Tensor, threshold: Tensor | None, out: Tensor) -> Tensor:
    return torch.clamp_min(values, 0, out=out)


def _identity(values: Tensor, threshold: Tensor | None, out: Tensor) -> Tensor:
    return out.copy_(values)


def _modrelu(values: Tensor, threshold: Tensor | None, out: Tensor) -> Tensor:
    assert threshold is not None
    sign = torch.sign(values)
    return torch.mul(values.abs_().add_(threshold).clamp_min_(0), sign, out=out)


def _tanh_slope(output: Tensor, out: Tensor) -> Tensor:
    return torch.addcmul(output.new_ones(()), output, output, value=-1, out=out)


def _sigmoid_slope(output: Tensor, out: Tensor) -> Tensor:
    return torch.addcmul(output, output, output, value=-1, out=out)


def _relu_slope(output: Tensor, out: Tensor) -> Tensor:
    return out.copy_(output)


def _identity_slope(output: Tensor, out: Tensor) -> Tensor:
    return out.fill_(1)


def _modrelu_slope(output: Tensor, out: Tensor) -> Tensor:
    return torch.abs(output, out=out)


def _through_relu(output: Tensor, total: Tensor) -> Tensor:
    return _aten.threshold_backward.grad_input(total, output, 0, grad_input=output)


ACTIVATIONS: dict[Nonlinearity, Activation] = {
    "tanh": Activation(gain=2, apply=_tanh, slope=_tanh_slope, through=Tensor.mul_),
    "sigmoid": Activation(apply=_sigmoid, slope=_sigmoid_slope, through=Tensor.mul_),
    "relu": Activation(apply=_relu, slope=_relu_slope, through=_through_relu),
    "identity": Activation(apply=_identity, slope=_identity_slope, through=Tensor.mul_),
    "modrelu": Activation(apply=_modrelu, slope=_modrelu_slope, through=_through_relu, has_threshold=True),
}
"""As in torch: relu'(0) = 0, and no gradient passes a relu that is off, not even one that is not finite.

modReLU (Arjovsky, Shah & Bengio, Unitary evolution recurrent neural networks, 2016, arXiv:1511.06464, section 4.2;
here of real numbers) is sign(a) relu(|a| + threshold): it keeps the sign, and with the threshold 0 everything.
"""
