"""What every recurrence shares: states, weights, the recorder and the edit of adjoints.

A recurrence unrolls one layer over time as a single `torch.autograd.Function`: a forward scan, and a hand-derived
backward scan whose running variable is the total derivative of the loss with respect to the state,

    dL/dh_t = direct_t + carried_t,

*direct* what reaches h_t through the layer's output at t (readout, next layer), *carried* what reaches it through
the state at t+1. Recording it means keeping it; editing `carried` on its way back in time is how truncated
backpropagation, h-detach and per-step clipping are done.
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
"""The weights of one layer by name, the replica axis first, of the shapes that `Recurrence.shapes` tells."""


Nonlinearity = Literal["tanh", "sigmoid", "relu", "identity", "modrelu"]


@dataclass(frozen=True, kw_only=True)
class Activated:
    """What one gate or activation of a cell put out at every time step.

    Attributes:
        nonlinearity: The activation's name; its derivative follows from `values`.
        values: What it put out.
    """

    nonlinearity: Nonlinearity
    values: Float[Tensor, "time replica batch hidden"]


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
        return self._everywhere[steps.start : steps.stop].unbind(0)

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

    def figures(self) -> dict[str, Float[Tensor, " replica"]]:
        """What it did in a backward pass, by tag; nothing unless a member tells."""
        return {}


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

    gate_names: ClassVar[tuple[str, ...]] = ("h",)
    """What the blocks of `hidden` rows in the weights of the inputs are for."""

    @property
    def gates(self) -> int:
        """How many such blocks there are."""
        return len(self.gate_names)

    @property
    def in_torch(self) -> Callable[..., nn.RNNBase] | None:
        """Constructor of the torch.nn module with this very cell; None if there is no such module."""
        return None

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the states that a sequence is continued from, the output first."""
        return ("h",)

    @property
    def recorded(self) -> tuple[str, ...]:
        """The states whose adjoints are recorded: all but those that merely repeat an earlier one."""
        return self.states

    @abstractmethod
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """Tell the shapes of one replica's weights.

        Args:
            input_size: Features of the inputs.
            hidden_size: Units.

        Returns:
            Name to shape, in the order in which they are drawn.
        """

    @abstractmethod
    def scan(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        state: States,
        weights: Weights,
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
        weights: Weights,
        *,
        recorder: AdjointRecorder | None = None,
        edit: AdjointEdit | None = None,
    ) -> States:
        """Run the cell over a sequence as `scan` does.

        Returns:
            Every state at every time step, each (time, replica, batch, hidden). The last time step continues the
            sequence exactly: unrolling the rest from there gives what one unroll would have given.
        """
        return self.scan(inputs, state, weights, ScanOptions(recorder=recorder, edit=edit))[0]

    @torch.no_grad()
    def step(
        self, inputs: Float[Tensor, "time replica batch input"], before: States, weights: Weights
    ) -> tuple[Float[Tensor, "time replica batch hidden"], ...]:
        """Go one step from the states before every time step, for all time steps at once; not differentiable.

        Args:
            inputs: The sequence.
            before: Every state before each time step, each (time, replica, batch, hidden).
            weights: The layer's weights.

        Returns:
            Every state after each time step: what a scan gives if `before` are the states of that scan, one step late.
        """
        time, _, batch, _ = inputs.shape
        rows, *state = (each.transpose(0, 1).flatten(1, 2) for each in (inputs, *before))
        after = self.unroll(rows.unsqueeze(0), tuple(state), weights)
        return tuple(each[0].unflatten(1, (time, batch)).transpose(0, 1) for each in after)

    def recurrent_matrices(self, weights: Weights) -> dict[str, Float[Tensor, "replica hidden hidden"]]:
        """Give the square matrices that multiply the state before, every gate's by itself.

        Args:
            weights: The layer's weights.

        Returns:
            By name, such as "weight_hh", or "weight_hh/f" of a cell with several gates.
        """
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
        """Tell what every gate and activation puts out, for all time steps at once; not differentiable.

        Args:
            inputs: The sequence.
            before: Every state before each time step, each (time, replica, batch, hidden).
            weights: The layer's weights.

        Returns:
            By name: "h", or as in the equations of the cell, "i", "f", "g", "o" and "tanh_c"; "r", "z", "n"; "new" of a
            residual cell. Nothing if the cell is linear.
        """
        return {}

    def zero_state(self, inputs: Float[Tensor, "time replica batch input"], hidden_size: int) -> States:
        """All-zero initial state for `inputs`, each (replica, batch, hidden)."""
        return tuple(inputs.new_zeros(*inputs.shape[1:3], hidden_size) for _ in self.states)
