"""Frame in which every cell is scanned: memory layout of the steps, the way back through them, and the sums.

A cell provides its loop over the steps, `Scanned.forward_scan`, and its loop back, `Scanned.backward_scan`. The
autograd function, the parts of the adjoint, recording and editing are here, the same for all.

A step back is kept short. The slopes of all gates, which do not depend on the adjoint, are computed for a run of steps
at once. A step then multiplies slopes by adjoints, in place, and carries the product on. The products of a chunk of
steps enter the weight gradient together.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core import buffers
from rnnstudy.core.products import StepProduct, add_products
from rnnstudy.recurrence.base import Adjoint, Direct, Recurrence, ScanOptions, States, Weights
from rnnstudy.recurrence.layer_norm import LayerNorm

CHUNK_ELEMENTS = 1 << 17
"""Numbers per replica, about, that backward steps gather for one matrix product: 512 kB of float32 fit the cache."""

MINUS_ONE = torch.tensor(-1.0, device="cpu")
"""For 2x - 1 in one operation; without axes, so that it fits every device and dtype."""

SPAN = 48
"""Time steps of a run, whose views are made at its start: many more live objects would trigger garbage collection."""

SPAN_ELEMENTS = 1 << 19
"""Numbers that a run of backward steps computes at once, over all replicas: 2 MB in float32."""


class Joint:
    """Inputs, a constant one and the previous state side by side: row t is [x_t, 1, h_{t-1}].

    With weights [W_ih, b, W_hh] a step's pre-activation, its weight gradient and its bias gradient are one matrix
    product each.
    """

    def __init__(self, inputs: Float[Tensor, "time replica batch input"], h0: Tensor) -> None:
        """Copy the inputs in; the forward scan writes the states through `hidden`."""
        num_steps, replicas, batch, self.input_size = inputs.shape
        self.values = buffers.empty((num_steps + 1, replicas, batch, self.input_size + 1 + h0.shape[-1]), h0)
        self.values[:num_steps, ..., : self.input_size].copy_(inputs)
        self.values[..., self.input_size] = 1
        self.hidden = self.values[..., self.input_size + 1 :]
        self.hidden[0].copy_(h0)


AFFINE = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
"""Weights of a cell of torch.nn, in its order."""


def affine_shapes(gates: int, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights of a cell of torch.nn."""
    rows = gates * hidden_size
    return dict(zip(AFFINE, ((rows, input_size), (rows, hidden_size), (rows,), (rows,)), strict=True))


def affine(weights: Weights) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the weights of a cell of torch.nn, in its order."""
    return weights["weight_ih"], weights["weight_hh"], weights["bias_ih"], weights["bias_hh"]


def pack(
    weight_ih: Float[Tensor, "replica rows input"],
    weight_hh: Float[Tensor, "replica rows state"],
    bias: Float[Tensor, "replica rows"],
) -> Float[Tensor, "replica rows joint"]:
    """Return the weights in the order of a `Joint` row."""
    return torch.cat([weight_ih, bias.unsqueeze(-1), weight_hh], dim=-1)


def scale_blocks(packed: Float[Tensor, "replica rows joint"], factors: Sequence[int]) -> Tensor:
    """Multiply each block of rows by its factor; return a new tensor."""
    scaled = packed.clone()
    for block, factor in zip(scaled.chunk(len(factors), dim=1), factors, strict=True):
        if factor != 1:
            block.mul_(factor)
    return scaled


def per_step(buffer: Tensor, steps: range) -> Sequence[Tensor]:
    """Return a view of a buffer for each of `steps`; all share a buffer of one step."""
    if len(buffer) == 1:
        return [buffer[0]] * len(steps)
    return buffer[steps.start : steps.stop].unbind(0)


def spans(num_steps: int, length: int = SPAN) -> list[range]:
    """Return the time steps in runs of bounded length."""
    return [range(start, min(start + length, num_steps)) for start in range(0, num_steps, length)]


def step_by_step(num_steps: int, *buffers: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the view of each buffer at each time step."""
    for steps in spans(num_steps):
        yield from zip(*(per_step(buffer, steps) for buffer in buffers), strict=True)


def project(
    inputs: Float[Tensor, "time replica batch input"],
    weight: Float[Tensor, "replica hidden input"],
    bias: Float[Tensor, "replica hidden"] | None = None,
) -> Float[Tensor, "time replica batch hidden"]:
    """Return W x_t + b of all time steps at once, differentiably: for cells that need no other product."""
    time, _, batch, _ = inputs.shape
    rows = inputs.transpose(0, 1).flatten(1, 2)
    products = torch.bmm(rows, weight.transpose(1, 2))
    if bias is not None:
        products = products + bias.unsqueeze(1)
    return products.unflatten(1, (time, batch)).transpose(0, 1)


@dataclass(frozen=True, kw_only=True)
class BackwardSpan:
    """Run of time steps to go back through, last to first, with room for what reaches their pre-activations."""

    steps: range
    deltas: Float[Tensor, "time replica batch rows"]

    @property
    def during(self) -> slice:
        """The time steps, as a slice of a buffer."""
        return slice(self.steps.start, self.steps.stop)


class PackedGradient:
    """Gradient of the packed weights and of the inputs, summed chunk by chunk on the way back."""

    def __init__(
        self,
        values: Float[Tensor, "time_and_one replica batch joint"],
        packed: Float[Tensor, "replica rows joint"],
        input_size: int,
        *,
        of_inputs: bool,
    ) -> None:
        """Start from zero, given the values of the `Joint` and the packed weights."""
        self._values, self._packed, self._input_size = values, packed, input_size
        self._turned = packed.new_zeros(packed.shape[0], packed.shape[2], packed.shape[1])
        self.inputs = values.new_empty(len(values) - 1, *values.shape[1:3], input_size) if of_inputs else None

    def spans(self, like: Float[Tensor, "replica batch hidden"]) -> Iterator[BackwardSpan]:
        """Yield the runs of each chunk, the last first, sized for the cache; the caller fills their deltas."""
        (replicas, batch, _), rows, num_steps = like.shape, self._packed.shape[1], len(self._values) - 1
        # Chunks depend on the sizes of one replica alone: no replica's sums depend on how many there are.
        length = max(1, min(num_steps, CHUNK_ELEMENTS // (batch * rows)))
        run = max(1, min(SPAN, SPAN_ELEMENTS // (replicas * batch * rows)))
        room = buffers.empty((replicas, length, batch, rows), like)
        for stop in range(num_steps, 0, -length):
            start = max(0, stop - length)
            for end in range(stop, start, -run):
                begin = max(start, end - run)
                deltas = room[:, begin - start : end - start].transpose(0, 1)
                yield BackwardSpan(steps=range(begin, end), deltas=deltas)
            self._add(slice(start, stop), room[:, : stop - start].flatten(1, 2))

    def _add(self, chunk: slice, deltas: Float[Tensor, "replica time_batch rows"]) -> None:
        add_products(self._turned, self._values[chunk], deltas)
        if self.inputs is not None:
            out = self.inputs[chunk]
            by_replica = torch.bmm(deltas, self._packed[..., : self._input_size])
            out.copy_(by_replica.unflatten(1, (len(out), -1)).transpose(0, 1))

    @property
    def packed(self) -> Float[Tensor, "replica rows joint"]:
        """Gradient of the packed weights."""
        return self._turned.transpose(1, 2)

    def affine(self, norm: LayerNorm | None = None) -> dict[str, Tensor]:
        """Return the gradients of the weights of a cell of torch.nn, and of a gain, by name."""
        before = self._input_size
        gains, of_bias = ({}, self.packed[..., before]) if norm is None else norm.gradients()
        of_ih, of_hh = self.packed[..., :before], self.packed[..., before + 1 :]
        return dict(zip(AFFINE, (of_ih, of_hh, of_bias, of_bias.clone()), strict=True)) | gains


def tanh_of_half(doubled: Tensor, out: Tensor) -> Tensor:
    """Return tanh(a) in `out`, given 2a, overwritten: 2 sigmoid(2a) - 1 is several times faster on a CPU than tanh."""
    # In float32 its absolute error stays below 2e-7, torch's below 4e-8. States near zero lose relative precision;
    # gradients, which depend on 1 - tanh(a)^2, do not.
    return torch.add(MINUS_ONE, doubled.sigmoid_(), alpha=2, out=out)


class Carried:
    """Adjoint of one state on its way back in time: of all steps when recorded, else in one reused buffer."""

    def __init__(self, like: Float[Tensor, "replica batch hidden"], num_steps: int, *, recorded: bool) -> None:
        """Start from zero at the last time step."""
        self.values = buffers.empty((num_steps if recorded else 1, *like.shape), like)
        self.values[-1].zero_()
        self.initial = torch.empty_like(like)

    def leaving(self, time_step: int) -> Float[Tensor, "replica batch hidden"]:
        """Return the place of the adjoint that leaves a time step for the one before."""
        return per_step(self.values, range(time_step - 1, time_step))[0] if time_step else self.initial

    def views(self, steps: range) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return, for each of `steps`, the places of the adjoint that arrives and of the one that leaves."""
        arriving = per_step(self.values, steps)
        return arriving, [self.leaving(steps.start), *arriving[:-1]]


@dataclass(frozen=True, kw_only=True)
class ForwardScan:
    """States that a scan found at every time step, and what it leaves for the way back.

    Attributes:
        states: Every state at every time step.
        kept: What the way back needs, the memory of the first state first.
        norm: Layer normalisation, if any.
    """

    states: States
    kept: tuple[Tensor, ...]
    norm: LayerNorm | None = None


Gradients = tuple[Tensor | None, States, dict[str, Tensor]]
"""Gradients of the inputs, of the initial states, and of the weights by name."""


def _none(_: int) -> tuple[Tensor, ...]:
    return ()


class BackwardScan:
    """One way back through the steps of a scan.

    Attributes:
        kept: Tensors that the forward scan left.
        norm: Its layer normalisation, if any.
        input_size: Features of the inputs.
        num_steps: Time steps.
        like: A state, (replica, batch, hidden), whose values do not last.
        recorded: Whether adjoints are recorded.
        others: Adjoints that arrive from outside at the states other than the first.
        carried: Adjoint that travels back for the first state.
    """

    def __init__(self, ctx: Any, grad_outputs: Sequence[Tensor | None]) -> None:
        """Begin at the last step."""
        self.kept, self.norm, self._options = ctx.saved_tensors, ctx.norm, ctx.options
        (self.num_steps, *sizes, self.input_size), hidden_size = ctx.sizes
        self._of_inputs = ctx.needs_input_grad[0]
        self.like = self.kept[0].new_empty(*sizes, hidden_size)
        self.recorded = self._options.recorder is not None
        self._direct = Direct(grad_outputs[0], self._options.read_steps, grad_outputs[-1])
        self.others = [Direct(arriving) for arriving in grad_outputs[1:-1]]
        self.carried = self.carry("h", self._direct)
        if self.norm is not None:
            self.norm.begin_backward()

    def carry(self, state: str, direct: Direct) -> Carried:
        """Make room for what travels back for a state; the recorder, if any, keeps it."""
        carried = Carried(self.like, self.num_steps, recorded=self.recorded)
        if self.recorded:
            self._options.recorder.adjoints[state] = Adjoint(carried=carried.values, source=direct)
        return carried

    def gradient(self, values: Tensor, packed: Tensor, rows: int | None = None) -> tuple[PackedGradient, StepProduct]:
        """Return a zero gradient of packed weights, and the product back through W_hh (`rows` rows of it, or all)."""
        back = packed[:, :rows, self.input_size + 1 :].transpose(1, 2)
        gradient = PackedGradient(values, packed, self.input_size, of_inputs=self._of_inputs)
        return gradient, StepProduct(back, self.like.shape[1])

    def steps(
        self, steps: range, *, totals: Sequence[Tensor] | None = None, beside: Callable[[int], Iterable[Tensor]] = _none
    ) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Go back through a run of steps, last to first, and edit what the caller has carried on.

        Args:
            steps: The time steps.
            totals: Room for the total of each step; None uses the same room again.
            beside: Maps a time step to what leaves it for the states other than the first.

        Yields:
            Place of the step in the run, total adjoint of the first state there, and room for the part that is carried
            to the step before. Where nothing is added and nothing recorded, the two share their memory.
        """
        edit = self._options.edit
        arriving, leaving = self.carried.views(steps)
        directs = self._direct.views(steps)
        for k in range(len(steps) - 1, -1, -1):
            total, direct = arriving[k], directs[k]
            if direct is not None:
                total = torch.add(direct, total, out=self.like if totals is None else totals[k])
            yield k, total, leaving[k]
            if edit is not None:
                edit.apply((leaving[k], *beside(steps[k])), steps[k] - 1, self.num_steps)


class Scanned(Recurrence):
    """Recurrence by two loops over the time steps, one forwards and one back."""

    def prepared(
        self, inputs: Float[Tensor, "time replica batch input"], weights: Weights
    ) -> tuple[Float[Tensor, "time replica batch features"], Weights]:
        """Turn inputs and weights, differentiably and for all steps at once, into the loops' arguments."""
        return inputs, weights

    @abstractmethod
    def forward_scan(
        self, inputs: Float[Tensor, "time replica batch features"], state: States, weights: Weights, *, keep: bool
    ) -> ForwardScan:
        """Run the cell on what `prepared` returned; `keep` the activations if a way back can follow."""

    @abstractmethod
    def backward_scan(self, back: BackwardScan) -> Gradients:
        """Go back through the sequence; return the gradients of everything that `forward_scan` was given."""

    @override
    def scan(
        self, inputs: Float[Tensor, "time replica batch input"], state: States, weights: Weights, options: ScanOptions
    ) -> tuple[States, Float[Tensor, "read replica batch hidden"]]:
        inputs, weights = self.prepared(inputs, weights)
        tensors = (inputs, *state, *weights.values())
        keep = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        *states, read = _Scan.apply(inputs, self, tuple(weights), keep, options, *state, *weights.values())
        return tuple(states), read


class _Scan(torch.autograd.Function):
    """Scan of any cell, as autograd sees it."""

    @staticmethod
    @override
    def forward(
        ctx: Any,
        inputs: Tensor,
        cell: Scanned,
        names: tuple[str, ...],
        keep: bool,
        options: ScanOptions,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        state, weights = tensors[: len(cell.states)], tensors[len(cell.states) :]
        done = cell.forward_scan(inputs, state, dict(zip(names, weights, strict=True)), keep=keep)
        ctx.save_for_backward(*done.kept)
        ctx.cell, ctx.names, ctx.norm, ctx.options = cell, names, done.norm, options
        ctx.sizes = inputs.shape, state[0].shape[-1]
        ctx.set_materialize_grads(False)
        hidden = done.states[0]
        return *done.states, hidden[torch.tensor(options.read_steps, dtype=torch.int64, device=hidden.device)]

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        # Differentiating this backward pass would give a wrong result, not merely a slow one.
        if torch.is_grad_enabled():
            raise RuntimeError("A recurrence cannot be differentiated twice: call backward without create_graph=True.")
        of_inputs, of_state, of_weights = ctx.cell.backward_scan(BackwardScan(ctx, grad_outputs))
        return of_inputs, None, None, None, None, *of_state, *(of_weights[name] for name in ctx.names)
