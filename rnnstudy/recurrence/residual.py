"""Recurrences whose state keeps part of itself: leaky and residual."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core import buffers
from rnnstudy.core.errors import ConfigError, require_above, require_finite
from rnnstudy.core.products import StepProduct
from rnnstudy.recurrence import scan
from rnnstudy.recurrence.activations import ACTIVATIONS
from rnnstudy.recurrence.base import Activated, States, Weights


@dataclass(frozen=True, kw_only=True)
class ResidualRecurrence(scan.Scanned):
    """h_t = keep * h_{t-1} + rate * tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    "leaky" keeps 1 - rate of the state (the vanilla recurrence at rate 1), "residual" keeps all of it.

    References:
        Jaeger, Lukosevicius, Popovici & Siewert, Optimization and applications of echo state networks with
        leaky-integrator neurons, 2007: "leaky", with the leak inside the activation's argument left out.
        Chang, Chen, Haber & Chi, AntisymmetricRNN, 2019 (arXiv:1902.09689), equation 5: "residual", an Euler step.

    Args:
        variant: Rule for what is kept.
        rate: Share that is new, above 0; at most 1 if leaky.
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
        """Share of the state that is kept."""
        return 1 - self.rate if self.variant == "leaky" else 1.0

    @override
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        return scan.affine_shapes(1, input_size, hidden_size)

    @override
    def forward_scan(
        self, inputs: Float[Tensor, "time replica batch input"], state: States, weights: Weights, *, keep: bool
    ) -> scan.ForwardScan:
        weight_ih, weight_hh, bias_ih, bias_hh = scan.affine(weights)
        (h0,), num_steps = state, len(inputs)
        joint, activation = scan.Joint(inputs, h0), ACTIVATIONS["tanh"]
        packed = scan.pack(weight_ih, weight_hh, bias_ih + bias_hh)
        product = StepProduct(packed * activation.gain, h0.shape[1])
        # Kept beside the states: the activation of every step.
        new = buffers.empty((num_steps if keep else 1, *h0.shape), h0)
        preactivation = torch.empty_like(h0)

        before = joint.hidden[0]
        for row, n, h in scan.step_by_step(num_steps, joint.values, new, joint.hidden[1:]):
            activation.apply(product(row, preactivation), None, n)
            if self.keep == 1:
                torch.add(before, n, alpha=self.rate, out=h)
            else:
                torch.lerp(before, n, self.rate, out=h)
            before = h
        return scan.ForwardScan(states=(joint.hidden[1:],), kept=(joint.values, new, packed))

    @override
    def backward_scan(self, back: scan.BackwardScan) -> scan.Gradients:
        values, new, packed = back.kept
        activation, keep = ACTIVATIONS["tanh"], self.keep
        gradient, product = back.gradient(values, packed)

        for span in gradient.spans(back.like):
            activation.slope(new[span.during], span.deltas)
            span.deltas.mul_(self.rate)
            deltas = span.deltas.unbind(0)
            for k, total, leaving in back.steps(span.steps):
                # Before `leaving` is written: it may be the memory of `total`.
                kept = total * keep
                product(activation.through(deltas[k], total), leaving).add_(kept)

        return gradient.inputs, (back.carried.initial,), gradient.affine()

    @override
    @torch.no_grad()
    def activated(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> dict[str, Activated]:
        weight_ih, weight_hh, bias_ih, bias_hh = scan.affine(weights)
        preactivations = scan.project(inputs, weight_ih, bias_ih + bias_hh) + scan.project(before[0], weight_hh)
        return {"new": Activated(nonlinearity="tanh", values=torch.tanh(preactivations))}
