"""The cells as plain loops over time and replicas, differentiated by ordinary autograd.

Every state of every step is a node of the graph with separate copies for its separate uses,

    value -> output   (what the caller gets)
          -> within   (what later lines of the same step use: c_t in h_t)
          -> carried  (what step t+1 uses)

so that the total derivative, its direct part (output + within) and its carried part are each a gradient of their own,
and none is computed from the others.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from reference.cells.base import Cell, Params, Visit
from torch import Tensor

from rnnstudy.recurrence.base import Recurrence, States, Weights

Carry = Callable[[States, int], States]
"""What step `time_step + 1` gets of the states of `time_step`; changes gradients, never values."""


def keep(states: States, time_step: int) -> States:
    """Leave what is carried alone."""
    del time_step
    return states


def cell_of(recurrence: Recurrence) -> Cell:
    """Find the plain twin of a member: the file of its name in `reference/cells`, or else the `derived` one."""
    try:
        twin = importlib.import_module(f"reference.cells.{type(recurrence).__module__.rpartition('.')[2]}")
    except ModuleNotFoundError:
        return partial(derived, recurrence)
    return partial(twin.step, recurrence)


def derived(recurrence: Recurrence, x: Tensor, state: States, params: Params, visit: Visit) -> States:
    """Take the engine's own step, whose derivatives test_gradcheck holds against finite differences.

    Raises:
        AssertionError: Several states are recorded: which depends on which within a step, this cannot know.
    """
    assert recurrence.recorded == ("h",), f"{recurrence!r} has no plain twin: write its step in tests/reference/cells."
    weights = {name: weight.unsqueeze(0) for name, weight in params.items()}
    states = recurrence.unroll(x[None, None], tuple(each.unsqueeze(0) for each in state), weights)
    return tuple(visit(name, each[0, 0]) for name, each in zip(recurrence.states, states, strict=True))


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
