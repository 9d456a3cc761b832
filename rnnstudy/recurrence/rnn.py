"""Vanilla (Elman) recurrence."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import override

from rnnstudy.core.products import StepProduct
from rnnstudy.recurrence import scan
from rnnstudy.recurrence.activations import ACTIVATIONS, Nonlinearity
from rnnstudy.recurrence.base import Activated, States, Weights
from rnnstudy.recurrence.layer_norm import norm_of


@dataclass(frozen=True, kw_only=True)
class RNNRecurrence(scan.Scanned):
    """h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), as torch.nn.RNN, also with other activations.

    With layer normalisation h_t = f(gain * norm(W_ih x_t + W_hh h_{t-1}) + b_ih + b_hh), norm over the units.

    References:
        Elman, Finding structure in time, 1990.
        Ba, Kiros & Hinton, Layer normalization, 2016 (arXiv:1607.06450), equation 4.

    Args:
        nonlinearity: Activation f; "modrelu" has a learnt threshold for each unit.
        layer_norm: Whether to normalise the pre-activations.
    """

    nonlinearity: Nonlinearity = "tanh"
    layer_norm: bool = False

    @property
    @override
    def in_torch(self) -> Callable[..., nn.RNNBase] | None:
        has_one = self.nonlinearity in {"tanh", "relu"} and not self.layer_norm
        return partial(nn.RNN, nonlinearity=self.nonlinearity) if has_one else None

    @override
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        shapes = scan.affine_shapes(1, input_size, hidden_size)
        if self.layer_norm:
            shapes["gain"] = (hidden_size,)
        if ACTIVATIONS[self.nonlinearity].has_threshold:
            shapes["threshold"] = (hidden_size,)
        return shapes

    @override
    def forward_scan(
        self, inputs: Float[Tensor, "time replica batch input"], state: States, weights: Weights, *, keep: bool
    ) -> scan.ForwardScan:
        weight_ih, weight_hh, bias_ih, bias_hh = scan.affine(weights)
        (h0,), num_steps = state, len(inputs)
        joint = scan.Joint(inputs, h0)
        activation = ACTIVATIONS[self.nonlinearity]
        factors, kept = [activation.gain], num_steps if keep else 1
        norm, bias = norm_of(weights.get("gain"), bias_ih + bias_hh, h0, num_steps=kept, factors=factors)
        packed = scan.pack(weight_ih, weight_hh, bias)
        product = StepProduct(packed if norm else scan.scale_blocks(packed, factors), h0.shape[1])
        preactivation = torch.empty_like(h0)
        threshold = weights["threshold"].unsqueeze(1) if activation.has_threshold else None

        for t, (row, h) in enumerate(scan.step_by_step(num_steps, joint.values, joint.hidden[1:])):
            product(row, preactivation)
            if norm is not None:
                norm.forward(t, preactivation)
            activation.apply(preactivation, threshold, h)
        return scan.ForwardScan(states=(joint.hidden[1:],), kept=(joint.values, packed), norm=norm)

    @override
    def backward_scan(self, back: scan.BackwardScan) -> scan.Gradients:
        values, packed = back.kept
        activation, norm = ACTIVATIONS[self.nonlinearity], back.norm
        hidden = values[1:, ..., back.input_size + 1 :]
        gradient, product = back.gradient(values, packed)
        of_threshold = torch.zeros_like(back.like) if activation.has_threshold else None

        for span in gradient.spans(back.like):
            activation.slope(hidden[span.during], span.deltas)
            deltas = span.deltas.unbind(0)
            for k, total, leaving in back.steps(span.steps):
                delta = activation.through(deltas[k], total)
                if of_threshold is not None:
                    of_threshold.addcmul_(delta, hidden[span.steps[k]].sign())
                if norm is not None:
                    norm.backward(span.steps[k], delta)
                product(delta, leaving)

        of_weights = gradient.affine(norm)
        if of_threshold is not None:
            of_weights["threshold"] = of_threshold.sum(1)
        return gradient.inputs, (back.carried.initial,), of_weights

    @override
    def activated(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> dict[str, Activated]:
        return {"h": Activated(nonlinearity=self.nonlinearity, values=self.step(inputs, before, weights)[0])}
