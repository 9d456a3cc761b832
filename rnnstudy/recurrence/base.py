"""What every recurrence shares: states, weights, the recorder and the edit of adjoints.

A recurrence unrolls one layer over time as a single `torch.autograd.Function`: a forward scan, and a hand-derived
backward scan whose running variable is the total derivative of the loss with respect to the state,

    dL/dh_t = direct_t + carried_t,

*direct* what reaches h_t through the layer's output at t (readout, next layer), *carried* what reaches it through
the state at t+1. Recording it is a copy, editing `carried` on its way back in time is how truncated backpropagation,
h-detach and per-step clipping are done.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from rnnstudy.core import buffers
from rnnstudy.core.products import add_products

States = tuple[Tensor, ...]
"""One tensor per state of the cell, in the order of `Recurrence.states`: (h,) or (h, c)."""

CHUNK_ELEMENTS = 1 << 17
"""Backward steps are gathered until they hold about this many numbers per replica (512 kB in float32, so they stay in
the cache), then enter the weight gradient in one matrix product."""

MINUS_ONE = torch.tensor(-1.0)

SPAN = 32
"""Time steps for which views are made at once; many more live objects would call Python's garbage collector."""

SPAN_ELEMENTS = 1 << 18
"""Numbers that a run of backward steps computes at once, of all replicas: 1 MB in float32."""


@dataclass(frozen=True, kw_only=True)
class CellWeights:
    """Weights of one layer, gate order and equations of torch.nn, one slice a replica."""

    weight_ih: Float[Tensor, "replica gates_hidden input"]
    weight_hh: Float[Tensor, "replica gates_hidden hidden"]
    bias_ih: Float[Tensor, "replica gates_hidden"]
    bias_hh: Float[Tensor, "replica gates_hidden"]

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All of them, in this order."""
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh


class Direct:
    """What reaches a state other than through the next time step: zero but where something arrives."""

    def __init__(
        self,
        everywhere: Float[Tensor, "time replica batch hidden"] | None,
        steps: Sequence[int] = (),
        values: Float[Tensor, "step replica batch hidden"] | None = None,
    ) -> None:
        """Take what arrives at all time steps, and `values` that arrive at `steps` besides."""
        if everywhere is not None and values is not None:
            everywhere = everywhere.clone().index_add_(0, torch.tensor(steps, device=values.device), values)
        self._everywhere = everywhere
        self._some: dict[int, Tensor] = {}
        if everywhere is None and values is not None:
            for step, value in zip(steps, values.unbind(0), strict=True):
                self._some[step] = self._some[step] + value if step in self._some else value

    def views(self, steps: range) -> Sequence[Tensor | None]:
        """What arrives at each of `steps`; None is nothing."""
        if self._everywhere is None:
            return [self._some.get(step) for step in steps]
        return per_step(self._everywhere, steps)

    def added_to(self, values: Float[Tensor, "time replica batch hidden"]) -> Tensor:
        """The sum with `values`, a new tensor."""
        if self._everywhere is not None:
            return self._everywhere + values
        total = values.clone()
        for step, value in self._some.items():
            total[step] += value
        return total


@dataclass(frozen=True, kw_only=True)
class Adjoint:
    """dL/ds_t of one state at every time step, for the loss that `backward` was called on.

    For the cell state of an LSTM, *direct* is what arrives through h_t of the same step, *carried* what arrives
    through c_{t+1}.

    Attributes:
        carried: The part that came through the next time step.
        source: The other part, as it arrived.
    """

    carried: Float[Tensor, "time replica batch hidden"]
    source: Direct

    @property
    def direct(self) -> Float[Tensor, "time replica batch hidden"]:
        """The part that did not come through the next time step."""
        return self.source.added_to(torch.zeros_like(self.carried))

    @property
    def total(self) -> Float[Tensor, "time replica batch hidden"]:
        """The total derivative; the same sum, bit for bit, that the backward scan went on with."""
        return self.source.added_to(self.carried)


@dataclass(kw_only=True)
class AdjointRecorder:
    """Keeps the adjoints of one unroll; filled while `backward` runs.

    Attributes:
        adjoints: State name ("h", "c") to its adjoint.
    """

    adjoints: dict[str, Adjoint] = field(default_factory=dict)


class AdjointEdit(ABC):
    """Changes what is carried back in time, before it is added to the direct part."""

    @abstractmethod
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        """Edit in place what goes from `time_step + 1` back to `time_step`.

        Args:
            carried: One tensor (replica, batch, hidden) per state of the cell.
            time_step: Where the adjoint arrives; -1 is the initial state.
            num_steps: Length of the unrolled sequence.
        """


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    """What a scan does besides running the cell.

    Args:
        read_steps: Time steps at which the output is wanted by itself. A loss on it costs no gradient tensor over all
            time steps, which a loss on a slice of the states does.
        recorder: Filled with every state's adjoint during `backward`.
        edit: Applied to the carried adjoint at every time step.
    """

    read_steps: Sequence[int] = ()
    recorder: AdjointRecorder | None = None
    edit: AdjointEdit | None = None


class Recurrence(ABC):
    """One layer of one cell, without weights of its own."""

    states: ClassVar[tuple[str, ...]]
    """Names of the cell's states, the output first."""

    gates: ClassVar[int]
    """Blocks of `hidden` rows in the weights."""

    @abstractmethod
    def scan(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        state: States,
        weights: CellWeights,
        options: ScanOptions,
    ) -> tuple[States, Float[Tensor, "read replica batch hidden"]]:
        """Run the cell over a sequence, differentiably.

        Args:
            inputs: The sequence.
            state: Where to start, one tensor (replica, batch, hidden) per state.
            weights: The layer's weights.
            options: What to read, record and edit.

        Returns:
            Every state at every time step, each (time, replica, batch, hidden), and the output at the steps to read.
        """

    def unroll(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        state: States,
        weights: CellWeights,
        *,
        recorder: AdjointRecorder | None = None,
        edit: AdjointEdit | None = None,
    ) -> States:
        """Run the cell over a sequence, differentiably.

        Args:
            inputs: The sequence.
            state: Where to start, one tensor (replica, batch, hidden) per state.
            weights: The layer's weights.
            recorder: Filled with every state's adjoint during `backward`.
            edit: Applied to the carried adjoint at every time step.

        Returns:
            Every state at every time step, each (time, replica, batch, hidden). The last time step continues the
            sequence exactly: unrolling the rest from there gives what one unroll would have given.
        """
        return self.scan(inputs, state, weights, ScanOptions(recorder=recorder, edit=edit))[0]

    def zero_state(self, inputs: Float[Tensor, "time replica batch input"], hidden_size: int) -> States:
        """All-zero initial state for `inputs`, each (replica, batch, hidden)."""
        return tuple(inputs.new_zeros(*inputs.shape[1:3], hidden_size) for _ in self.states)


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
        return self.hidden[torch.tensor(steps, dtype=torch.int64, device=self.hidden.device) + 1]


def pack(weights: CellWeights) -> Float[Tensor, "replica rows joint"]:
    """Weights in the order of a `Joint` row."""
    bias = (weights.bias_ih + weights.bias_hh).unsqueeze(-1)
    return torch.cat([weights.weight_ih, bias, weights.weight_hh], dim=-1)


def unpack(gradient: Float[Tensor, "replica rows joint"], input_size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradient of packed weights as that of the weights, in the order of `CellWeights`."""
    weight_ih, bias, weight_hh = gradient.split([input_size, 1, gradient.shape[-1] - input_size - 1], dim=-1)
    bias = bias.squeeze(-1)
    return weight_ih, weight_hh, bias, bias.clone()


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

    def add(self, span: "BackwardSpan") -> None:
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
