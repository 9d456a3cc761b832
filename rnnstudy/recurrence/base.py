"""Base of every recurrence: states, weights, the recorder and the edit of adjoints.

A recurrence unrolls one layer over time as a single `torch.autograd.Function`: a forward scan, and a hand-derived
backward scan whose running variable is the total derivative of the loss with respect to the state,

    dL/dh_t = direct_t + carried_t.

*Direct* reaches h_t through the layer's output at t (readout, next layer), *carried* through the state at t+1. To
record it is to keep it; truncated backpropagation, h-detach and per-step clipping edit `carried` on its way back.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

States = tuple[Tensor, ...]
"""One tensor per state of the cell, in the order of `Recurrence.states`: (h,) or (h, c)."""

Weights = Mapping[str, Tensor]
"""Weights of one layer by name, the replica axis first, with the shapes of `Recurrence.shapes`."""

Nonlinearity = Literal["tanh", "sigmoid", "relu", "identity", "modrelu"]


@dataclass(frozen=True, kw_only=True)
class Activated:
    """Output of one gate or activation at every time step; its derivative follows from both fields."""

    nonlinearity: Nonlinearity
    values: Float[Tensor, "time replica batch hidden"]


class Direct:
    """Part of an adjoint that does not come through the next time step: zero except where something arrives."""

    def __init__(
        self,
        everywhere: Float[Tensor, "time replica batch hidden"] | None,
        steps: Sequence[int] = (),
        values: Float[Tensor, "step replica batch hidden"] | None = None,
    ) -> None:
        """Take what arrives at all time steps, and the `values` that also arrive at `steps`."""
        if everywhere is not None and values is not None:
            everywhere = everywhere.clone().index_add_(0, torch.tensor(steps, device=values.device), values)
        self._everywhere = everywhere
        self._some: dict[int, Tensor] = {}
        if everywhere is None and values is not None:
            for step, value in zip(steps, values.unbind(0), strict=True):
                self._some[step] = self._some[step] + value if step in self._some else value

    def views(self, steps: range) -> Sequence[Tensor | None]:
        """Return what arrives at each of `steps`; None means zero."""
        if self._everywhere is None:
            return [self._some.get(step) for step in steps]
        return self._everywhere[steps.start : steps.stop].unbind(0)

    def replica(self, number: int) -> "Direct":
        """Return a copy for one replica, which keeps its axis."""
        copied = Direct(None if self._everywhere is None else self._everywhere[:, number : number + 1].clone())
        copied._some = {step: value[number : number + 1].clone() for step, value in self._some.items()}
        return copied

    def added_to(self, values: Float[Tensor, "time replica batch hidden"]) -> Tensor:
        """Return the sum with `values`, a new tensor."""
        if self._everywhere is not None:
            return self._everywhere + values
        total = values.clone()
        for step, value in self._some.items():
            total[step] += value
        return total


@dataclass(frozen=True, kw_only=True)
class Adjoint:
    """dL/ds_t of one state at every time step, for the loss that `backward` was called on.

    For the cell state of an LSTM, *direct* arrives through h_t of the same step, *carried* through c_{t+1}.

    Attributes:
        carried: Part that came through the next time step.
        source: The other part, as it arrived.
    """

    carried: Float[Tensor, "time replica batch hidden"]
    source: Direct

    def replica(self, number: int) -> "Adjoint":
        """Return a copy for one replica, which keeps its axis."""
        return Adjoint(carried=self.carried[:, number : number + 1].clone(), source=self.source.replica(number))

    @property
    def direct(self) -> Float[Tensor, "time replica batch hidden"]:
        """Part that did not come through the next time step."""
        return self.source.added_to(torch.zeros_like(self.carried))

    @property
    def total(self) -> Float[Tensor, "time replica batch hidden"]:
        """Total derivative; bit for bit the sum with which the backward scan continued."""
        return self.source.added_to(self.carried)


@dataclass(kw_only=True)
class AdjointRecorder:
    """Record of the adjoints of one unroll by state name ("h", "c"); filled while `backward` runs."""

    adjoints: dict[str, Adjoint] = field(default_factory=dict)


class AdjointEdit(ABC):
    """Edit of what is carried back in time, before it is added to the direct part."""

    @abstractmethod
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        """Edit in place what travels from `time_step + 1` back to `time_step`.

        Args:
            carried: One tensor (replica, batch, hidden) per state of the cell.
            time_step: Destination of the adjoint; -1 is the initial state.
            num_steps: Length of the unrolled sequence.
        """

    def figures(self) -> dict[str, Float[Tensor, " replica"]]:
        """Return figures of the last backward pass by tag; none unless a member reports some."""
        return {}


@dataclass(frozen=True, kw_only=True)
class ScanOptions:
    """Options of a scan besides running the cell.

    Args:
        read_steps: Time steps whose output is returned by itself. A loss on it, unlike one on a slice of the states,
            costs no gradient tensor over all time steps.
        recorder: Recorder filled with every state's adjoint during `backward`.
        edit: Edit of the carried adjoint at every time step.
    """

    read_steps: Sequence[int] = ()
    recorder: AdjointRecorder | None = None
    edit: AdjointEdit | None = None


class Recurrence(ABC):
    """One layer of one cell, without weights of its own."""

    gate_names: ClassVar[tuple[str, ...]] = ("h",)
    """Names of the blocks of `hidden` rows in the weights of the inputs."""

    @property
    def gates(self) -> int:
        """Number of these blocks."""
        return len(self.gate_names)

    @property
    def in_torch(self) -> Callable[..., nn.RNNBase] | None:
        """Constructor of the torch.nn module with this very cell; None without such a module."""
        return None

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the states from which a sequence continues, the output first."""
        return ("h",)

    @property
    def recorded(self) -> tuple[str, ...]:
        """States whose adjoints are recorded: all but those that merely repeat an earlier one."""
        return self.states

    @abstractmethod
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of one replica's weights by name, in the order in which they are drawn."""

    @abstractmethod
    def scan(
        self, inputs: Float[Tensor, "time replica batch input"], state: States, weights: Weights, options: ScanOptions
    ) -> tuple[States, Float[Tensor, "read replica batch hidden"]]:
        """Run the cell over a sequence, differentiably, from `state`, one tensor (replica, batch, hidden) per state.

        Returns:
            Every state at every time step, each (time, replica, batch, hidden), and the output at the steps to read.
        """

    def unroll(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        state: States,
        weights: Weights,
        *,
        recorder: AdjointRecorder | None = None,
        edit: AdjointEdit | None = None,
    ) -> States:
        """Return every state of `scan`; unrolling the rest from the last step gives exactly what one unroll would."""
        return self.scan(inputs, state, weights, ScanOptions(recorder=recorder, edit=edit))[0]

    @torch.no_grad()
    def step(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> tuple[Float[Tensor, "time replica batch hidden"], ...]:
        """Return every state after one step from `before` each time step, for all steps at once; not differentiable.

        It is what a scan gives if `before` are the states of that scan, one step late.
        """
        time, _, batch, _ = inputs.shape
        rows, *state = (each.transpose(0, 1).flatten(1, 2) for each in (inputs, *before))
        after = self.unroll(rows.unsqueeze(0), tuple(state), weights)
        return tuple(each[0].unflatten(1, (time, batch)).transpose(0, 1) for each in after)

    def recurrent_matrices(self, weights: Weights) -> dict[str, Float[Tensor, "replica hidden hidden"]]:
        """Return the square matrices on the state before by name: "weight_hh", or one per gate, "weight_hh/f"."""
        found: dict[str, Tensor] = {}
        for name in ("weight_hh", "weight_skip"):
            if name in weights:
                blocks = weights[name].chunk(self.gates, dim=1)
                names = [name] if self.gates == 1 else [f"{name}/{gate}" for gate in self.gate_names]
                found |= dict(zip(names, blocks, strict=True))
        return found

    def activated(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> dict[str, Activated]:
        """Return what every gate and activation puts out, for all time steps at once; not differentiable.

        By name, given the states `before` each time step: "h", or as in the equations of the cell, "i", "f", "g", "o"
        and "tanh_c"; "r", "z", "n"; "new" of a residual cell. Empty if the cell is linear.
        """
        return {}

    def zero_state(self, inputs: Float[Tensor, "time replica batch input"], hidden_size: int) -> States:
        """Return the zero initial state for `inputs`, each (replica, batch, hidden)."""
        return tuple(inputs.new_zeros(*inputs.shape[1:3], hidden_size) for _ in self.states)
