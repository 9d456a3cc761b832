"""Recurrence with a skip connection through time."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core import buffers
from rnnstudy.core.errors import require_between
from rnnstudy.core.products import StepProduct
from rnnstudy.recurrence import scan
from rnnstudy.recurrence.activations import ACTIVATIONS
from rnnstudy.recurrence.base import Activated, States, Weights


@dataclass(frozen=True, kw_only=True)
class SkipRecurrence(scan.Scanned):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh + W_skip h_{t-skip}).

    A sequence continues from the last `skip` hidden states: h_t, and the states "h-1" to "h-(skip-1)", where "h-k" at
    time step t is h_{t-k}. Their adjoints travel back on the skip connections; dL/dh_t has all that reaches h_t through
    t + 1 and through t + skip.

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
        return scan.affine_shapes(1, input_size, hidden_size) | {"weight_skip": (hidden_size, hidden_size)}

    @override
    def forward_scan(
        self, inputs: Float[Tensor, "time replica batch input"], state: States, weights: Weights, *, keep: bool
    ) -> scan.ForwardScan:
        weight_ih, weight_hh, bias_ih, bias_hh = scan.affine(weights)
        skip, h0, num_steps = self.skip, state[0], len(inputs)
        size, before = h0.shape[-1], inputs.shape[-1] + 1
        packed = scan.pack(weight_ih, torch.cat([weight_hh, weights["weight_skip"]], dim=-1), bias_ih + bias_hh)
        # Row t is [x_t, 1, h_{t-1}, h_{t-skip}]; rows before the first hold the states before h_{-1}.
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

        for t, (row,) in enumerate(scan.step_by_step(num_steps, rows)):
            h = activation.apply(product(row, preactivation), None, history[skip + t])
            if t + skip < num_steps:
                skipped[t + skip].copy_(h)
        states = tuple(history[skip - back : skip - back + num_steps] for back in range(skip))
        return scan.ForwardScan(states=states, kept=(values, packed))

    @override
    def backward_scan(self, back: scan.BackwardScan) -> scan.Gradients:
        values, packed = back.kept
        skip, size, activation = self.skip, back.like.shape[-1], ACTIVATIONS["tanh"]
        hidden = values[skip:, ..., back.input_size + 1 : back.input_size + 1 + size]
        gradient, product = back.gradient(values[skip - 1 :], packed)
        # What a step sends back to the last state and to the skipped one; the second takes several steps to arrive.
        sent = back.like.new_zeros(*back.like.shape[:2], 2 * size)
        travelling = deque(torch.zeros_like(sent) for _ in range(skip - 1))

        def moved(_: int) -> Iterable[Tensor]:
            return (moving[..., size:] for moving in travelling)

        for span in gradient.spans(back.like):
            activation.slope(hidden[span.during], span.deltas)
            deltas, beside = span.deltas.unbind(0), [each.views(span.steps) for each in back.others]
            for k, total, leaving in back.steps(span.steps, beside=moved):
                for moving, arrives in zip(travelling, beside, strict=True):
                    if (more := arrives[k]) is not None:
                        moving[..., size:].add_(more)
                product(activation.through(deltas[k], total), sent)
                joining = travelling.popleft()
                torch.add(sent[..., :size], joining[..., size:], out=leaving)
                travelling.append(sent)
                sent = joining

        of_weights = gradient.affine()
        of_weights["weight_hh"], of_weights["weight_skip"] = of_weights["weight_hh"].split(size, dim=-1)
        return gradient.inputs, (back.carried.initial, *(each.clone() for each in moved(-1))), of_weights

    @override
    def activated(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> dict[str, Activated]:
        return {"h": Activated(nonlinearity="tanh", values=self.step(inputs, before, weights)[0])}
