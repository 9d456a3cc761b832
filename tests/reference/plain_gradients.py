"""Jacobians, terms of the weights' gradient and adjoints by ordinary autograd; and in 140 digits, where float64 ends.

Everything starts from the plain cells of `reference.unrolled`: one step of one replica at a time, no scan, no recorder.
The last part writes the three classical cells once more in mpmath and differentiates a step by central differences,
whose error of about 1e-60 leaves nothing to derive by hand.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import torch
from reference.problems import Problem
from reference.unrolled import Params, cell_of, params_of
from torch import Tensor, nn
from torch.autograd.functional import jacobian
from torch.nn import functional

from rnnstudy.gradients.trajectories import Trajectory, trace
from rnnstudy.models.base import Network
from rnnstudy.recurrence.base import Recurrence, States, Weights
from rnnstudy.tasks.base import Batch, Task


def trajectory_of(recurrence: Recurrence, problem: Problem) -> Trajectory:
    """The path of a problem's cell along its inputs, from its own initial states."""
    weights = {name: weight.detach() for name, weight in problem.weights.items()}
    return trace(recurrence, weights, problem.inputs.detach(), tuple(state.detach() for state in problem.state))


def plain_step(recurrence: Recurrence, x: Tensor, joined: Tensor, params: Params) -> Tensor:
    """One step of one replica on all states side by side, (batch, state) to (batch, state)."""
    states = joined.chunk(len(recurrence.states), -1)
    return torch.cat(cell_of(recurrence)(x, states, params, lambda _, value: value), -1)


def plain_states(recurrence: Recurrence, inputs: Tensor, initial: States, weights: Weights) -> Tensor:
    """All states side by side before the first and after every time step, (time + 1, replica, batch, state)."""
    paths = []
    for replica in range(inputs.shape[1]):
        path = [torch.cat([state[replica] for state in initial], -1)]
        for x in inputs[:, replica]:
            path.append(plain_step(recurrence, x, path[-1], params_of(weights, replica)))
        paths.append(torch.stack(path))
    return torch.stack(paths, 1)


def each_sequence(trajectory: Trajectory) -> Iterator[tuple[int, int]]:
    """Replica and sequence, in turn."""
    replicas, batch = trajectory.inputs.shape[1:3]
    yield from ((replica, sequence) for replica in range(replicas) for sequence in range(batch))


def plain_jacobians(trajectory: Trajectory) -> tuple[Tensor, Tensor]:
    """ds_t/ds_{t-1} and ds_t/dx_t of every step, each (time, replica, batch, state, ...), one sequence at a time."""
    cell, inputs, weights = trajectory.cell, trajectory.inputs, trajectory.weights
    paths = plain_states(cell, inputs, trajectory.initial, weights)
    of_states, of_inputs = [], []
    for replica, sequence in each_sequence(trajectory):
        params = params_of(weights, replica)

        def step(x: Tensor, s: Tensor, params: Params = params) -> Tensor:
            return plain_step(cell, x[None], s[None], params)[0]

        pairs = zip(inputs[:, replica, sequence], paths[:-1, replica, sequence], strict=True)
        by_input, by_state = zip(*(jacobian(step, (x, s)) for x, s in pairs), strict=True)
        of_states.append(torch.stack(by_state))
        of_inputs.append(torch.stack(by_input))
    sizes = inputs.shape[1:3]
    return torch.stack(of_states, 1).unflatten(1, sizes), torch.stack(of_inputs, 1).unflatten(1, sizes)


def unrolled_block(trajectory: Trajectory, time_step: int, state: str) -> Tensor:
    """ds_T/ds_k of one state by differentiating the rest of the loop, (replica, batch, hidden, hidden)."""
    cell, size = trajectory.cell, trajectory.hidden_size
    place = cell.states.index(state) * size
    paths = plain_states(cell, trajectory.inputs, trajectory.initial, trajectory.weights)
    blocks = []
    for replica, sequence in each_sequence(trajectory):

        def rest(s: Tensor, replica: int = replica, sequence: int = sequence) -> Tensor:
            joined = s[None]
            for x in trajectory.inputs[time_step + 1 :, replica, sequence]:
                joined = plain_step(cell, x[None], joined, params_of(trajectory.weights, replica))
            return joined[0]

        whole = jacobian(rest, paths[time_step + 1, replica, sequence])
        assert isinstance(whole, Tensor)
        blocks.append(whole[place : place + size, place : place + size])
    return torch.stack(blocks).unflatten(0, trajectory.inputs.shape[1:3])


def qr_growth(factors: np.ndarray) -> np.ndarray:
    """Logarithms of what (time, state, state) factors do to an orthonormal frame that starts as the identity."""
    frame = np.eye(factors.shape[-1])
    growth = []
    for factor in factors:
        frame, upper = np.linalg.qr(factor @ frame)
        with np.errstate(divide="ignore"):
            growth.append(np.log(np.abs(np.diag(upper))))
    return np.stack(growth)


@dataclass(frozen=True, kw_only=True)
class PlainRun:
    """The graph of a whole network over a batch, in float64.

    Attributes:
        errors: Loss of every output, (loss_step, replica, batch).
        counted: Which of them count.
        copies: The weights of every layer, and in it of every time step.
        nodes: Layer, state, time step and replica to the state, (batch, hidden).
    """

    errors: Tensor
    counted: Tensor
    copies: list[list[dict[str, Tensor]]]
    nodes: dict[tuple[int, str, int, int], Tensor]

    def terms(self) -> Iterator[tuple[int, int, dict[str, Tensor]]]:
        """Index of the loss step, layer, and the gradient of that step's share for every copy, (time, replica, ...)."""
        shares = torch.where(self.counted, self.errors, 0).sum(2) / self.counted.sum((0, 2))
        for index, share in enumerate(shares):
            for layer, copies in enumerate(self.copies):
                leaves = [leaf for step in copies for leaf in step.values()]
                found = iter(torch.autograd.grad(share.sum(), leaves, retain_graph=True, materialize_grads=True))
                steps = [{name: next(found) for name in step} for step in copies]
                yield index, layer, {name: torch.stack([step[name] for step in steps]) for name in steps[0]}

    def log10_norms(self, layer: int, state: str) -> Tensor:
        """log10 of the norm of dL/ds_t for every sequence's own loss, (time, replica, batch)."""
        own = torch.where(self.counted, self.errors, 0).sum(0) / self.counted.sum(0)
        time, replicas = len(self.copies[layer]), self.errors.shape[1]
        nodes = [self.nodes[layer, state, t, r] for t in range(time) for r in range(replicas)]
        found = torch.autograd.grad(own.sum(), nodes, retain_graph=True, materialize_grads=True)
        return torch.stack(found).norm(dim=-1).log10().unflatten(0, (time, replicas))


def run_plain(network: Network, task: Task, batch: Batch, initial: Sequence[States] | None = None) -> PlainRun:
    """Run a network from `initial` or zero states, with weights of its own at every time step."""
    double = copy.deepcopy(network).double().requires_grad_(False)
    hidden = [_embedded(double, batch.inputs[:, replica], replica) for replica in range(double.replicas)]
    copies: list[list[dict[str, Tensor]]] = []
    nodes: dict[tuple[int, str, int, int], Tensor] = {}
    for number, layer in enumerate(double.recurrent_layers):
        weights = layer.weights()
        steps = [{name: w.clone().requires_grad_() for name, w in weights.items()} for _ in range(len(hidden[0]))]
        for replica in range(double.replicas):
            states = tuple(hidden[0].new_zeros(hidden[0].shape[1], layer.hidden_size) for _ in layer.recurrence.states)
            if initial:
                states = tuple(state[replica] for state in initial[number])
            path = []
            for time_step, step in enumerate(steps):

                def visit(name: str, value: Tensor, place: tuple[int, int, int] = (number, time_step, replica)):
                    nodes[place[0], name, place[1], place[2]] = value
                    return value

                cell, x = cell_of(layer.recurrence), hidden[replica][time_step]
                states = cell(x, states, params_of(step, replica), visit)
                path.append(states[0])
            hidden[replica] = _mapped(layer.output_map, torch.stack(path), replica)
        copies.append(steps)
    outputs = [
        each[batch.loss_steps] @ double.readout_weight[replica].T + double.readout_bias[replica]
        for replica, each in enumerate(hidden)
    ]
    errors = task.losses(torch.stack(outputs, 1), batch)
    return PlainRun(errors=errors, counted=batch.counted, copies=copies, nodes=nodes)


def _embedded(network: Network, inputs: Tensor, replica: int) -> Tensor:
    if network.embedding is not None:
        return network.embedding[replica][inputs]
    if network.one_hot is not None:
        return functional.one_hot(inputs, len(network.one_hot)).double()
    return inputs.double()


def _mapped(output_map: nn.Module | None, hidden: Tensor, replica: int) -> Tensor:
    """The gate of an LRU, the one map there is: a sigmoid(W a + b) with a = gelu(h)."""
    if output_map is None:
        return hidden
    weight, bias = output_map.get_parameter("weight"), output_map.get_parameter("bias")
    active = functional.gelu(hidden)
    return active * torch.sigmoid(active @ weight[replica].T + bias[replica])


DIGITS = 140
"""Of every number of what follows."""

NUDGE = mpmath.mpf(10) ** -30
"""Half the step of a central difference: an error of 1e-60 by curvature, of 1e-110 by rounding."""

Numbers = list[Any]
"""Of mpmath, whose types say nothing."""

ExactStep = Callable[[Numbers, Numbers, dict[str, list]], Numbers]
"""Input, all states one after the other, and weights to all states after the step."""


def exact(values: object) -> list:
    """Nested lists of floats as mpmath numbers, without rounding."""
    return [exact(each) if isinstance(each, list) else mpmath.mpf(each) for each in values]  # pyright: ignore[reportGeneralTypeIssues]


def exact_params(weights: Weights, replica: int = 0) -> dict[str, list]:
    """The weights of one replica."""
    return {name: exact(weight[replica].tolist()) for name, weight in weights.items()}


def _affine(weight: list, bias: list, values: Numbers) -> Numbers:
    return [mpmath.fdot(row, values) + b for row, b in zip(weight, bias, strict=True)]


def _sigmoid(value: Any) -> Any:
    return 1 / (1 + mpmath.exp(-value))


def _both(x: Numbers, h: Numbers, p: dict[str, list]) -> tuple[Numbers, Numbers]:
    return _affine(p["weight_ih"], p["bias_ih"], x), _affine(p["weight_hh"], p["bias_hh"], h)


def exact_rnn(x: Numbers, s: Numbers, p: dict[str, list]) -> Numbers:
    """h = tanh(W_ih x + b_ih + W_hh h + b_hh)."""
    return [mpmath.tanh(a + b) for a, b in zip(*_both(x, s, p), strict=True)]


def exact_gru(x: Numbers, s: Numbers, p: dict[str, list]) -> Numbers:
    """Blocks r, z, n; the reset gate after the product."""
    size = len(s)
    ours, theirs = _both(x, s, p)
    after = []
    for k in range(size):
        r = _sigmoid(ours[k] + theirs[k])
        z = _sigmoid(ours[size + k] + theirs[size + k])
        n = mpmath.tanh(ours[2 * size + k] + r * theirs[2 * size + k])
        after.append((1 - z) * n + z * s[k])
    return after


def exact_lstm(x: Numbers, s: Numbers, p: dict[str, list]) -> Numbers:
    """Blocks i, f, g, o; h, then c."""
    size = len(s) // 2
    i, f, g, o = _exact_sums(x, s[:size], p)
    c = [_sigmoid(f[k]) * s[size + k] + _sigmoid(i[k]) * mpmath.tanh(g[k]) for k in range(size)]
    return [_sigmoid(a) * mpmath.tanh(each) for a, each in zip(o, c, strict=True)] + c


def exact_output_gate(x: Numbers, s: Numbers, p: dict[str, list]) -> Numbers:
    """Gate o of an LSTM."""
    return [_sigmoid(a) for a in _exact_sums(x, s[: len(s) // 2], p)[3]]


def _exact_sums(x: Numbers, h: Numbers, p: dict[str, list]) -> list[Numbers]:
    sums = [a + b for a, b in zip(*_both(x, h, p), strict=True)]
    return [sums[first : first + len(h)] for first in range(0, len(sums), len(h))]


EXACT_STEPS: dict[str, ExactStep] = {"rnn": exact_rnn, "gru": exact_gru, "lstm": exact_lstm}


def exact_path(step: ExactStep, inputs: list[Numbers], start: Numbers, params: dict[str, list]) -> list[Numbers]:
    """All states before the first and after every time step."""
    path = [start]
    for x in inputs:
        path.append(step(x, path[-1], params))
    return path


def exact_jacobian(step: ExactStep, x: Numbers, s: Numbers, params: dict[str, list]) -> Any:
    """ds_t/ds_{t-1} by central differences."""
    columns = []
    for k in range(len(s)):
        above, below = ([v + sign * NUDGE * (j == k) for j, v in enumerate(s)] for sign in (1, -1))
        pairs = zip(step(x, above, params), step(x, below, params), strict=True)
        columns.append([(a - b) / (2 * NUDGE) for a, b in pairs])
    return mpmath.matrix(columns).T


def exact_log10_norm(matrix: Any) -> float:
    """log10 of the spectral norm; brought to ordinary size before, since the iteration stops at an absolute size."""
    largest = max(abs(entry) for entry in matrix)
    if largest == 0:
        return -float("inf")
    values = mpmath.svd_r(matrix / largest, compute_uv=False)
    return float(mpmath.log10(largest * max(values)))


def exact_log10_length(numbers: Numbers) -> float:
    """log10 of the Euclidean norm."""
    return float(mpmath.log10(mpmath.sqrt(mpmath.fsum(n**2 for n in numbers))))
