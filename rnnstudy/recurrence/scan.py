"""What the scans of all cells share: how steps are laid out in memory, gone back through, and summed.

A step back is kept short. What of it does not depend on the adjoint, the slopes of all gates, is computed for a run of
steps at once; a step then multiplies slopes by adjoints, in place, and carries the product on. The products of a chunk
of steps enter the weight gradient together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rnnstudy.core import buffers
from rnnstudy.core.products import add_products
from rnnstudy.recurrence.base import Weights

CHUNK_ELEMENTS = 1 << 17
"""Backward steps are gathered until they hold about this many numbers per replica (512 kB in float32, so they stay in
the cache), then enter the weight gradient in one matrix product."""

MINUS_ONE = torch.tensor(-1.0, device="cpu")
"""For 2x - 1 in one operation; without axes, so that it goes with every device and dtype."""

SPAN = 48
"""Time steps for which views are made at once; many more live objects would call Python's garbage collector."""

SPAN_ELEMENTS = 1 << 19
"""Numbers that a run of backward steps computes at once, of all replicas: 2 MB in float32."""


def wants_gradient(*tensors: Tensor) -> bool:
    """Whether a backward pass can follow, so that the forward pass must keep its activations."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def refuse_second_derivative() -> None:
    """Raise if a backward pass is itself to be differentiated: it would come out wrong, not merely slow.

    Raises:
        RuntimeError: `backward` or `autograd.grad` was called with `create_graph=True`.
    """
    if torch.is_grad_enabled():
        raise RuntimeError("A recurrence cannot be differentiated twice: call backward without create_graph=True.")


class Joint:
    """Inputs, a constant one and the previous state side by side, so that one product serves a whole step.

    Row t is [x_t, 1, h_{t-1}]: with weights [W_ih, b, W_hh] a step's pre-activation, its weight gradient and its
    bias gradient are one matrix product each.
    """

    def __init__(self, inputs: Float[Tensor, "time replica batch input"], h0: Tensor) -> None:
        """Copy the inputs in; states are written in by the forward scan through `hidden`."""
        num_steps, replicas, batch, self.input_size = inputs.shape
        self.values = buffers.empty((num_steps + 1, replicas, batch, self.input_size + 1 + h0.shape[-1]), h0)
        self.values[:num_steps, ..., : self.input_size].copy_(inputs)
        self.values[..., self.input_size] = 1
        self.hidden = self.values[..., self.input_size + 1 :]
        self.hidden[0].copy_(h0)

    def read(self, steps: Sequence[int]) -> Float[Tensor, "read replica batch hidden"]:
        """The states after `steps`, copied out."""
        return read_out(self.hidden[1:], steps)


def read_out(hidden: Float[Tensor, "time replica batch hidden"], steps: Sequence[int]) -> Tensor:
    """The states after `steps`, (read, replica, batch, hidden), copied out."""
    return hidden[torch.tensor(steps, dtype=torch.int64, device=hidden.device)]


AFFINE = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""The weights of a cell of torch.nn, in its order."""


def affine_shapes(gates: int, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights of a cell of torch.nn."""
    rows = gates * hidden_size
    return dict(zip(AFFINE, ((rows, input_size), (rows, hidden_size), (rows,), (rows,)), strict=True))


def affine(weights: Weights) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The weights of a cell of torch.nn, in its order."""
    return weights["weight_ih"], weights["weight_hh"], weights["bias_ih"], weights["bias_hh"]


def pack(
    weight_ih: Float[Tensor, "replica rows input"],
    weight_hh: Float[Tensor, "replica rows state"],
    bias: Float[Tensor, "replica rows"],
) -> Float[Tensor, "replica rows joint"]:
    """Weights in the order of a `Joint` row."""
    return torch.cat([weight_ih, bias.unsqueeze(-1), weight_hh], dim=-1)


def unpack(gradient: Float[Tensor, "replica rows joint"], input_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of packed weights as that of what `pack` was given."""
    weight_ih, bias, weight_hh = gradient.split([input_size, 1, gradient.shape[-1] - input_size - 1], dim=-1)
    return weight_ih, weight_hh, bias.squeeze(-1)


def per_step(buffer: Tensor, steps: range) -> Sequence[Tensor]:
    """Views of a buffer, one for each of `steps`; a buffer of one step is shared by all."""
    if len(buffer) == 1:
        return [buffer[0]] * len(steps)
    return buffer[steps.start : steps.stop].unbind(0)


def after(buffer: Tensor, steps: range) -> Sequence[Tensor]:
    """Views of a buffer that begins one step earlier: for each of `steps`, what it writes."""
    return buffer[steps.start + 1 : steps.stop + 1].unbind(0)


def spans(num_steps: int) -> Iterator[range]:
    """Time steps in runs of bounded length, since a view of every step is made at the start of a run."""
    for start in range(0, num_steps, SPAN):
        yield range(start, min(start + SPAN, num_steps))


def reversed_spans(num_steps: int) -> Iterator[range]:
    """The same runs on the way back, the last first."""
    return reversed(list(spans(num_steps)))


def project(
    inputs: Float[Tensor, "time replica batch input"],
    weight: Float[Tensor, "replica hidden input"],
    bias: Float[Tensor, "replica hidden"] | None = None,
) -> Float[Tensor, "time replica batch hidden"]:
    """W x_t + b of all time steps at once, differentiably: for cells that need no other product."""
    time, _, batch, _ = inputs.shape
    rows = inputs.transpose(0, 1).flatten(1, 2)
    products = torch.bmm(rows, weight.transpose(1, 2))
    if bias is not None:
        products = products + bias.unsqueeze(1)
    return products.unflatten(1, (time, batch)).transpose(0, 1)


@dataclass(frozen=True, kw_only=True)
class BackwardSpan:
    """A run of time steps on the way back.

    Attributes:
        steps: The time steps; to be gone through from the last to the first.
        deltas: Room for what reaches the pre-activations at these steps.
        chunk: Set with the first steps of a chunk: the time steps whose deltas are complete after this run.
        rows: All deltas of the chunk so far.
    """

    steps: range
    deltas: Float[Tensor, "time replica batch rows"]
    chunk: slice | None
    rows: Float[Tensor, "replica time_batch rows"]


def backward_spans(num_steps: int, like: Float[Tensor, "replica batch hidden"], blocks: int) -> Iterator[BackwardSpan]:
    """Go back through time.

    In chunks, each for one product in the weight gradient; these depend on the sizes of one replica alone, so that no
    replica's sums depend on how many there are. Within a chunk in runs short enough for the cache.

    Yields:
        The runs, last first.
    """
    replicas, batch, hidden = like.shape
    rows = blocks * hidden
    length = max(1, min(num_steps, CHUNK_ELEMENTS // (batch * rows)))
    run = max(1, min(SPAN, SPAN_ELEMENTS // (replicas * batch * rows)))
    room = buffers.empty((replicas, length, batch, rows), like)
    for stop in range(num_steps, 0, -length):
        start = max(0, stop - length)
        for end in range(stop, start, -run):
            begin = max(start, end - run)
            yield BackwardSpan(
                steps=range(begin, end),
                deltas=room[:, begin - start : end - start].transpose(0, 1),
                chunk=slice(start, stop) if begin == start else None,
                rows=room[:, : stop - start].flatten(1, 2),
            )


class Gradient:
    """Gradient of the packed weights and of the inputs, summed chunk by chunk on the way back."""

    def __init__(
        self,
        values: Float[Tensor, "time_and_one replica batch joint"],
        packed: Float[Tensor, "replica rows joint"],
        input_size: int,
        *,
        of_inputs: bool,
    ) -> None:
        """Start from zero.

        Args:
            values: Of the `Joint`.
            packed: The weights.
            input_size: Features of the inputs.
            of_inputs: Whether the inputs want a gradient.
        """
        self._values, self._packed, self._input_size = values, packed, input_size
        self._turned = packed.new_zeros(packed.shape[0], packed.shape[2], packed.shape[1])
        self.inputs = values.new_empty(len(values) - 1, *values.shape[1:3], input_size) if of_inputs else None

    def add(self, span: BackwardSpan) -> None:
        """Add the chunk that is complete with this run of steps, if one is."""
        if span.chunk is None:
            return
        add_products(self._turned, self._values[span.chunk], span.rows)
        if self.inputs is not None:
            out = self.inputs[span.chunk]
            by_replica = torch.bmm(span.rows, self._packed[..., : self._input_size])
            out.copy_(by_replica.unflatten(1, (len(out), -1)).transpose(0, 1))

    @property
    def packed(self) -> Float[Tensor, "replica rows joint"]:
        """The gradient of the packed weights."""
        return self._turned.transpose(1, 2)


def tanh_of_half(doubled: Tensor, out: Tensor) -> Tensor:
    """tanh(a), given 2a, which is overwritten: 2 sigmoid(2a) - 1 is several times faster on a CPU than torch's tanh.

    In float32 its absolute error stays below 2e-7, that of torch's tanh below 4e-8. What is lost is the relative
    precision of states near zero, not that of gradients, which depend on 1 - tanh(a)^2.

    Returns:
        `out`.
    """
    return torch.add(MINUS_ONE, doubled.sigmoid_(), alpha=2, out=out)


def add_direct(arriving: Tensor, direct: Tensor | None, *, out: Tensor) -> Tensor:
    """The total adjoint of a step; in `out` unless nothing is to be added."""
    return arriving if direct is None else torch.add(direct, arriving, out=out)


class Carried:
    """What travels back in time for one state: all steps when recorded, one reused buffer when not."""

    def __init__(self, like: Float[Tensor, "replica batch hidden"], num_steps: int, *, recorded: bool) -> None:
        """Start from zero at the last time step."""
        self.values = buffers.empty((num_steps if recorded else 1, *like.shape), like)
        self.values[-1].zero_()
        self.initial = torch.empty_like(like)

    def views(self, steps: range) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Where the adjoint that arrives at each of `steps` stands, and where the one that leaves it goes."""
        arriving = per_step(self.values, steps)
        first = per_step(self.values, range(steps.start - 1, steps.start))[0] if steps.start else self.initial
        return arriving, [first, *arriving[:-1]]
