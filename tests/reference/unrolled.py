"""The cells of torch.nn as plain loops over time and replicas, differentiated by ordinary autograd.

Every state of every step is a node of the graph with separate copies for its separate uses,

    value -> output   (what the caller gets)
          -> within   (what later lines of the same step use: c_t in h_t)
          -> carried  (what step t+1 uses)

so that the total derivative, its direct part (output + within) and its carried part are each a gradient of their own,
and none is computed from the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnstudy.recurrence.base import CellWeights, Recurrence, States
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence

Params = tuple[Tensor, Tensor, Tensor, Tensor]
"""weight_ih, weight_hh, bias_ih, bias_hh of one replica, as torch.nn has them."""

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


def rnn(activation: Callable[[Tensor], Tensor]) -> Cell:
    """The step of torch.nn.RNN."""

    def step(x: Tensor, state: States, params: Params, visit: Visit) -> States:
        (h,) = state
        weight_ih, weight_hh, bias_ih, bias_hh = params
        return (visit("h", activation(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)),)

    return step


def gru(x: Tensor, state: States, params: Params, visit: Visit) -> States:
    """The step of torch.nn.GRU."""
    (h,) = state
    weight_ih, weight_hh, bias_ih, bias_hh = params
    w_ir, w_iz, w_in = weight_ih.chunk(3)
    w_hr, w_hz, w_hn = weight_hh.chunk(3)
    b_ir, b_iz, b_in = bias_ih.chunk(3)
    b_hr, b_hz, b_hn = bias_hh.chunk(3)

    r = torch.sigmoid(x @ w_ir.T + b_ir + h @ w_hr.T + b_hr)
    z = torch.sigmoid(x @ w_iz.T + b_iz + h @ w_hz.T + b_hz)
    n = torch.tanh(x @ w_in.T + b_in + r * (h @ w_hn.T + b_hn))
    return (visit("h", (1 - z) * n + z * h),)


def lstm(x: Tensor, state: States, params: Params, visit: Visit) -> States:
    """The step of torch.nn.LSTM."""
    h, c = state
    weight_ih, weight_hh, bias_ih, bias_hh = params
    w_ii, w_if, w_ig, w_io = weight_ih.chunk(4)
    w_hi, w_hf, w_hg, w_ho = weight_hh.chunk(4)
    b_ii, b_if, b_ig, b_io = bias_ih.chunk(4)
    b_hi, b_hf, b_hg, b_ho = bias_hh.chunk(4)

    i = torch.sigmoid(x @ w_ii.T + b_ii + h @ w_hi.T + b_hi)
    f = torch.sigmoid(x @ w_if.T + b_if + h @ w_hf.T + b_hf)
    g = torch.tanh(x @ w_ig.T + b_ig + h @ w_hg.T + b_hg)
    o = torch.sigmoid(x @ w_io.T + b_io + h @ w_ho.T + b_ho)
    c = visit("c", f * c + i * g)
    return visit("h", o * torch.tanh(c)), c


def cell_of(recurrence: Recurrence) -> Cell:
    """The plain twin of a member.

    Raises:
        AssertionError: If it has none.
    """
    activations = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu}
    match recurrence:
        case RNNRecurrence(nonlinearity=name) if name in activations:
            return rnn(activations[name])
        case GRURecurrence():
            return gru
        case LSTMRecurrence():
            return lstm
    raise AssertionError(f"{recurrence!r} has no plain twin: write its equations in tests/reference/unrolled.py.")


def params_of(weights: CellWeights, replica: int) -> Params:
    """The weights of one replica."""
    return weights.weight_ih[replica], weights.weight_hh[replica], weights.bias_ih[replica], weights.bias_hh[replica]


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
        self, recurrence: Recurrence, inputs: Tensor, state: States, weights: CellWeights, carry: Carry = keep
    ) -> None:
        """Run the loop."""
        self.names = recurrence.states
        self.num_steps, self.replicas = inputs.shape[:2]
        self.nodes: dict[tuple[str, int, int], Node] = {}
        for replica in range(self.replicas):
            self._run(
                replica, cell_of(recurrence), inputs[:, replica], tuple(s[replica] for s in state), weights, carry
            )
        self.states = tuple(self._stack([node.output for node in self._nodes(name)]) for name in self.names)

    def backward(self, loss: Tensor, leaves: Sequence[Tensor]) -> tuple[list[Tensor], dict[str, PlainAdjoint]]:
        """Gradients of the leaves, and the adjoints of all states; zero where the loss does not reach."""
        parts = ("value", "output", "within", "carried")
        wanted = [getattr(node, part) for part in parts for name in self.names for node in self._nodes(name)]
        gradients = torch.autograd.grad(loss, [*leaves, *wanted], materialize_grads=True)
        of_nodes = iter(gradients[len(leaves) :])
        size = self.num_steps * self.replicas
        stacked = {
            (part, name): self._stack([next(of_nodes) for _ in range(size)]) for part in parts for name in self.names
        }
        adjoints = {
            name: PlainAdjoint(
                total=stacked["value", name],
                direct=stacked["output", name] + stacked["within", name],
                carried=stacked["carried", name],
            )
            for name in self.names
        }
        return list(gradients[: len(leaves)]), adjoints

    def _run(self, replica: int, cell: Cell, inputs: Tensor, state: States, weights: CellWeights, carry: Carry) -> None:
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
