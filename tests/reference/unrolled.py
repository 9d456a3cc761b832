"""The cells as plain loops over time and replicas, differentiated by ordinary autograd.

Every state of every step is a node of the graph with separate copies for its separate uses,

    value -> output   (what the caller gets)
          -> within   (what later lines of the same step use: c_t in h_t)
          -> carried  (what step t+1 uses)

so that the total derivative, its direct part (output + within) and its carried part are each a gradient of their own,
and none is computed from the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rnnstudy.recurrence.base import Recurrence, States, Weights
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.indrnn import IndRNNRecurrence
from rnnstudy.recurrence.lru import LRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.residual import ResidualRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.recurrence.skip import SkipRecurrence

Params = Mapping[str, Tensor]
"""The weights of one replica by name."""

Visit = Callable[[str, Tensor], Tensor]
"""Called with the name and value of a new state; the step goes on with what it returns."""

Cell = Callable[[Tensor, States, Params, Visit], States]
"""One step of one replica: input (batch, input) and states (batch, hidden) to the next states."""

Carry = Callable[[States, int], States]
"""What step `time_step + 1` gets of the states of `time_step`; changes gradients, never values."""


def keep(states: States, time_step: int) -> States:
    """Leave what is carried alone."""
    del time_step
    return states


def modrelu(value: Tensor, threshold: Tensor) -> Tensor:
    """sign(a) max(0, |a| + threshold)."""
    return value.sign() * torch.relu(value.abs() + threshold)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "identity": lambda value: value,
}
"""The activations without weights."""


def normalised(value: Tensor, gain: Tensor) -> Tensor:
    """Layer normalisation over the units, times its gain."""
    return functional.layer_norm(value, value.shape[-1:], eps=1e-5) * gain


def preactivations(x: Tensor, h: Tensor, params: Params, gates: int) -> Sequence[Tensor]:
    """What every gate's activation is applied to."""
    sums = (x @ params["weight_ih"].T + h @ params["weight_hh"].T).chunk(gates, -1)
    if "gain" in params:
        sums = [normalised(each, gain) for each, gain in zip(sums, params["gain"].chunk(gates), strict=True)]
    biases = (params["bias_ih"] + params["bias_hh"]).chunk(gates)
    return [each + bias for each, bias in zip(sums, biases, strict=True)]


def rnn(nonlinearity: str) -> Cell:
    """The step of torch.nn.RNN, whatever the activation."""

    def step(x: Tensor, state: States, params: Params, visit: Visit) -> States:
        (h,) = state
        (a,) = preactivations(x, h, params, 1)
        active = modrelu(a, params["threshold"]) if nonlinearity == "modrelu" else ACTIVATIONS[nonlinearity](a)
        return (visit("h", active),)

    return step


def gru(x: Tensor, state: States, params: Params, visit: Visit) -> States:
    """The step of torch.nn.GRU."""
    (h,) = state
    w_ir, w_iz, w_in = params["weight_ih"].chunk(3)
    w_hr, w_hz, w_hn = params["weight_hh"].chunk(3)
    b_ir, b_iz, b_in = params["bias_ih"].chunk(3)
    b_hr, b_hz, b_hn = params["bias_hh"].chunk(3)

    sum_r = x @ w_ir.T + h @ w_hr.T
    sum_z = x @ w_iz.T + h @ w_hz.T
    recurrent = h @ w_hn.T
    other = x @ w_in.T
    if "gain" in params:
        gain_r, gain_z, gain_recurrent, gain_other = params["gain"].chunk(4)
        sum_r, sum_z = normalised(sum_r, gain_r), normalised(sum_z, gain_z)
        recurrent, other = normalised(recurrent, gain_recurrent), normalised(other, gain_other)

    r = torch.sigmoid(sum_r + b_ir + b_hr)
    z = torch.sigmoid(sum_z + b_iz + b_hz)
    n = torch.tanh(other + b_in + r * (recurrent + b_hn))
    return (visit("h", (1 - z) * n + z * h),)


def lstm(x: Tensor, state: States, params: Params, visit: Visit) -> States:
    """The step of torch.nn.LSTM."""
    h, c = state
    a_i, a_f, a_g, a_o = preactivations(x, h, params, 4)
    i, f, g, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.tanh(a_g), torch.sigmoid(a_o)
    c = visit("c", f * c + i * g)
    return visit("h", o * torch.tanh(c)), c


def residual(keep_share: float, rate: float) -> Cell:
    """A share of the state before and a share of what is new."""

    def step(x: Tensor, state: States, params: Params, visit: Visit) -> States:
        (h,) = state
        (a,) = preactivations(x, h, params, 1)
        return (visit("h", keep_share * h + rate * torch.tanh(a)),)

    return step


def skip(x: Tensor, state: States, params: Params, visit: Visit) -> States:
    """The last of the states is `skip` steps old; the others move on by one place."""
    (a,) = preactivations(x, state[0], params, 1)
    h = visit("h", torch.tanh(a + state[-1] @ params["weight_skip"].T))
    return h, *(visit(f"h-{back}", older) for back, older in enumerate(state[:-1], start=1))


def indrnn(nonlinearity: str) -> Cell:
    """One recurrent weight a unit."""

    def step(x: Tensor, state: States, params: Params, visit: Visit) -> States:
        (h,) = state
        a = x @ params["weight_ih"].T + params["bias"] + params["recurrent"] * h
        return (visit("h", ACTIVATIONS[nonlinearity](a)),)

    return step


def as_complex(pairs: Tensor) -> Tensor:
    """Real and imaginary parts in turn, along the last axis, as half as many complex numbers."""
    return torch.complex(pairs[..., 0::2], pairs[..., 1::2])


def lru_eigenvalues(log_decay: Tensor, log_phase: Tensor) -> Tensor:
    """Lambda = exp(-exp(log_decay) + i exp(log_phase))."""
    return torch.exp(torch.complex(-log_decay.exp(), log_phase.exp()))


def lru(x: Tensor, state: States, params: Params, visit: Visit) -> States:
    """A complex number for every two units."""
    (h,) = state
    eigenvalues = lru_eigenvalues(params["log_decay"], params["log_phase"])
    z = eigenvalues * as_complex(h) + params["log_scale"].exp() * as_complex(x @ params["weight_ih"].T)
    return (visit("h", torch.stack([z.real, z.imag], dim=-1).flatten(-2)),)


def cell_of(recurrence: Recurrence) -> Cell:
    """The plain twin of a member.

    Raises:
        AssertionError: If it has none.
    """
    match recurrence:
        case RNNRecurrence(nonlinearity=name) if name in ACTIVATIONS or name == "modrelu":
            return rnn(name)
        case GRURecurrence():
            return gru
        case LSTMRecurrence():
            return lstm
        case ResidualRecurrence(variant="leaky", rate=rate):
            return residual(1 - rate, rate)
        case ResidualRecurrence(variant="residual", rate=rate):
            return residual(1, rate)
        case SkipRecurrence():
            return skip
        case IndRNNRecurrence(nonlinearity=name) if name in ACTIVATIONS:
            return indrnn(name)
        case LRURecurrence():
            return lru
    raise AssertionError(f"{recurrence!r} has no plain twin: write its equations in tests/reference/unrolled.py.")


def params_of(weights: Weights, replica: int) -> Params:
    """The weights of one replica."""
    return {name: weight[replica] for name, weight in weights.items()}


@dataclass(frozen=True)
class Node:
    """One state of one replica at one time step, and its copies."""

    value: Tensor
    output: Tensor
    within: Tensor
    carried: Tensor


@dataclass(frozen=True)
class PlainAdjoint:
    """The three derivatives of one state, each (time, replica, batch, hidden) and each from its own node."""

    total: Tensor
    direct: Tensor
    carried: Tensor


class Unrolled:
    """The graph of a whole sequence.

    Attributes:
        states: Every state at every time step, in the recurrence's order, each (time, replica, batch, hidden).
    """

    def __init__(
        self, recurrence: Recurrence, inputs: Tensor, state: States, weights: Weights, carry: Carry = keep
    ) -> None:
        """Run the loop."""
        self.names, self.recorded = recurrence.states, recurrence.recorded
        self.num_steps, self.replicas = inputs.shape[:2]
        self.nodes: dict[tuple[str, int, int], Node] = {}
        for replica in range(self.replicas):
            self._run(
                replica, cell_of(recurrence), inputs[:, replica], tuple(s[replica] for s in state), weights, carry
            )
        self.states = tuple(self._stack([node.output for node in self._nodes(name)]) for name in self.names)

    def backward(self, loss: Tensor, leaves: Sequence[Tensor]) -> tuple[list[Tensor], dict[str, PlainAdjoint]]:
        """Gradients of the leaves, and the adjoints of the recorded states; zero where the loss does not reach."""
        parts = ("value", "output", "within", "carried")
        wanted = [getattr(node, part) for part in parts for name in self.recorded for node in self._nodes(name)]
        if not loss.requires_grad:
            # All that the loss sees was detached.
            loss = loss + 0 * leaves[0].sum()
        gradients = torch.autograd.grad(loss, [*leaves, *wanted], materialize_grads=True)
        of_nodes = iter(gradients[len(leaves) :])
        size = self.num_steps * self.replicas
        stacked = {
            (part, name): self._stack([next(of_nodes) for _ in range(size)]) for part in parts for name in self.recorded
        }
        adjoints = {
            name: PlainAdjoint(
                total=stacked["value", name],
                direct=stacked["output", name] + stacked["within", name],
                carried=stacked["carried", name],
            )
            for name in self.recorded
        }
        return list(gradients[: len(leaves)]), adjoints

    def _run(self, replica: int, cell: Cell, inputs: Tensor, state: States, weights: Weights, carry: Carry) -> None:
        params = params_of(weights, replica)
        state = carry(state, -1)
        for time_step in range(self.num_steps):

            def visit(name: str, value: Tensor, time_step: int = time_step) -> Tensor:
                node = Node(value, value.clone(), value.clone(), value.clone())
                self.nodes[name, time_step, replica] = node
                return node.within

            cell(inputs[time_step], state, params, visit)
            copies = tuple(self.nodes[name, time_step, replica].carried for name in self.names)
            state = carry(copies, time_step)

    def _nodes(self, name: str) -> list[Node]:
        return [self.nodes[name, t, r] for t in range(self.num_steps) for r in range(self.replicas)]

    def _stack(self, rows: list[Tensor]) -> Tensor:
        return torch.stack(rows).unflatten(0, (self.num_steps, self.replicas))
