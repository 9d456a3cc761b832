"""What every recurrence shares: states, weights, the recorder and the edit of adjoints.

A recurrence unrolls one layer over time as a single `torch.autograd.Function`: a forward scan, and a hand-derived
backward scan whose running variable is the total derivative of the loss with respect to the state,

    dL/dh_t = direct_t + carried_t,

*direct* what reaches h_t through the layer's output at t (readout, next layer), *carried* what reaches it through
the state at t+1. Recording it is a copy, editing `carried` on its way back in time is how truncated backpropagation,
h-detach and per-step clipping are done.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

States = tuple[Tensor, ...]
"""One tensor per state of the cell, in the order of `Recurrence.states`: (h,) or (h, c)."""

CHUNK_ELEMENTS = 1 << 18
"""Backward steps are gathered until they hold about this many numbers (1 MB in float32, so they stay in the cache),
then enter the weight gradient in one matrix product."""


@dataclass(frozen=True, kw_only=True)
class CellWeights:
    """Weights of one layer, gate order and equations of torch.nn, one slice a replica."""

    weight_ih: Float[Tensor, "replica gates_hidden input"]
    weight_hh: Float[Tensor, "replica gates_hidden hidden"]
    bias_ih: Float[Tensor, "replica gates_hidden"]
    bias_hh: Float[Tensor, "replica gates_hidden"]


@dataclass(frozen=True, kw_only=True)
class Adjoint:
    """dL/ds_t of one state at every time step, for the loss that `backward` was called on.

    For the cell state of an LSTM, `direct` is what arrives through h_t of the same step, `carried` what arrives
    through c_{t+1}.
    """

    direct: Float[Tensor, "time replica batch hidden"]
    carried: Float[Tensor, "time replica batch hidden"]

    @property
    def total(self) -> Float[Tensor, "time replica batch hidden"]:
        """The total derivative; the same sum, bit for bit, that the backward scan went on with."""
        return self.direct + self.carried


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


class Recurrence(ABC):
    """One layer of one cell, without weights of its own."""

    states: ClassVar[tuple[str, ...]]
    """Names of the cell's states, the output first."""

    gates: ClassVar[int]
    """Blocks of `hidden` rows in the weights."""

    @abstractmethod
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
        self.values = inputs.new_empty(num_steps + 1, replicas, batch, self.input_size + 1 + h0.shape[-1])
        self.values[:num_steps, ..., : self.input_size].copy_(inputs)
        self.values[..., self.input_size] = 1
        self.hidden = self.values[..., self.input_size + 1 :]
        self.hidden[0].copy_(h0)


def pack(
    weight_ih: Float[Tensor, "replica rows input"],
    bias: Float[Tensor, "replica rows"],
    weight_hh: Float[Tensor, "replica rows hidden"],
) -> Float[Tensor, "replica rows joint"]:
    """Weights in the order of a `Joint` row."""
    return torch.cat([weight_ih, bias.unsqueeze(-1), weight_hh], dim=-1)


def per_step(buffer: Tensor, num_steps: int) -> list[Tensor]:
    """A buffer of `num_steps` steps, or of one that all steps share, as a list with an entry a step."""
    return list(buffer.unbind(0)) if len(buffer) == num_steps else [buffer[0]] * num_steps


def chunks(num_steps: int, step_elements: int) -> Iterator[range]:
    """Time steps in runs small enough for the cache, last run first."""
    length = max(1, min(num_steps, CHUNK_ELEMENTS // max(1, step_elements)))
    for stop in range(num_steps, 0, -length):
        yield range(max(0, stop - length), stop)


def by_replica(values: Float[Tensor, "time replica batch feature"]) -> Float[Tensor, "replica time_batch feature"]:
    """All samples of a replica in one matrix."""
    return values.transpose(0, 1).flatten(1, 2)


def scatter_inputs(
    rows: Float[Tensor, "replica time_batch input"], out: Float[Tensor, "time replica batch input"]
) -> None:
    """Write what `by_replica` gathered back into time-first order."""
    time, _, batch, _ = out.shape
    out.copy_(rows.unflatten(1, (time, batch)).transpose(0, 1))


class Carried:
    """What travels back in time for one state: all steps when recorded, one reused buffer when not."""

    def __init__(self, like: Float[Tensor, "replica batch hidden"], num_steps: int, *, recorded: bool) -> None:
        """Start from zero at the last time step."""
        self.values = like.new_empty(num_steps if recorded else 1, *like.shape)
        self.steps = per_step(self.values, num_steps)
        self.steps[-1].zero_()
        self.initial = torch.empty_like(like)

    def at(self, time_step: int) -> Tensor:
        """Where the adjoint that arrives at `time_step` stands; -1 is the initial state."""
        return self.steps[time_step] if time_step >= 0 else self.initial
