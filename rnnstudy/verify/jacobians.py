"""Jacobians, their products, growth rates and the replay, all derived from the engine's backward pass.

Products of Jacobians and replayed gradients are checked down to 10^-5000, far below the range of float64: in a linear
network that shrinks everything by alpha they are alpha^(T-t).
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from rnnstudy.gradients.jacobians import contributions, input_jacobians, step_jacobians
from rnnstudy.gradients.lyapunov import lyapunov
from rnnstudy.gradients.replay import replay
from rnnstudy.gradients.trajectories import Trajectory, trace
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.tasks.adding import Adding
from rnnstudy.verify.cells import all_cells, name_of
from rnnstudy.verify.finding import Finding, relative_error, worst_error
from rnnstudy.verify.nudged_states import NUDGES
from rnnstudy.verify.problems import SMALL, AnyCell, Problem, make_batch, make_network, make_problem

TOLERANCE = 1e-10
SLOPE_TOLERANCE = 1e-6
POWER_TOLERANCE = 1e-9
"""Tolerance for 10^-5000, whose logarithm has 16 digits, four of them before the point."""

ALPHA, LAG = 1e-25, 200
"""ALPHA^LAG is 10^-5000."""

LINEAR = RNNRecurrence(nonlinearity="identity")
TANH = RNNRecurrence(nonlinearity="tanh")


def check_jacobians(device: torch.device) -> Iterator[Finding]:
    """Check all that is derived from the backward pass of one step."""
    for cell in all_cells():
        path = _path(make_problem(cell, SMALL, device))
        for what, found, of_inputs in (
            ("Jacobian ds_t/ds_(t-1)", step_jacobians(path), False),
            ("Jacobian ds_t/dx_t", input_jacobians(path), True),
        ):
            error = min(relative_error(found, _slopes(path, eps, of_inputs=of_inputs), keep=2) for eps in NUDGES)
            against = "x_t nudged" if of_inputs else "s_(t-1) nudged"
            yield Finding(check=what, against=against, cell=name_of(cell), error=error, tolerance=SLOPE_TOLERANCE)
    for what, against, name, error, tolerance in (
        ("Lyapunov exponents", "ln |eigenvalues of J|", TANH, _exponents(device), TOLERANCE),
        ("product of Jacobians", "alpha^(T-t) = 10^-5000", LINEAR, _powers(device), POWER_TOLERANCE),
        ("replayed dL/dh_t", "alpha^(T-t) = 10^-5000", LINEAR, _replayed(device), POWER_TOLERANCE),
    ):
        yield Finding(check=what, against=against, cell=name_of(name), error=error, tolerance=tolerance)


def _path(problem: Problem) -> Trajectory:
    weights = {name: weight.detach() for name, weight in problem.weights.items()}
    return trace(problem.cell, weights, problem.inputs.detach(), tuple(state.detach() for state in problem.state))


def _slopes(path: Trajectory, eps: float, *, of_inputs: bool) -> Tensor:
    """Return the central differences of one step, column by column: (time, replica, batch, state, nudged entry)."""
    centre = path.inputs if of_inputs else torch.cat(path.before, dim=-1)

    def after(moved: Tensor) -> Tensor:
        inputs = moved if of_inputs else path.inputs
        before = path.before if of_inputs else tuple(moved.chunk(len(path.cell.states), dim=-1))
        return torch.cat(path.cell.step(inputs, before, path.weights), dim=-1)

    columns = []
    for number in range(centre.shape[-1]):
        move = torch.zeros_like(centre)
        move[..., number] = eps
        columns.append((after(centre + move) - after(centre - move)) / (2 * eps))
    return torch.stack(columns, dim=-1)


def _undriven(
    cell: RNNRecurrence, matrix: Float64[np.ndarray, "hidden hidden"], *, bias: float, steps: int, device: torch.device
) -> Trajectory:
    """Return the path of a vanilla network from zero, without inputs."""
    size = len(matrix)

    def full(value: float, *shape: int) -> Tensor:
        return torch.full(shape, value, dtype=torch.float64, device=device)

    weights = {"weight_ih": full(0, 1, size, 1), "weight_hh": torch.from_numpy(matrix).to(device)[None]}
    weights |= {"bias_ih": full(bias, 1, size), "bias_hh": full(0, 1, size)}
    return trace(cell, weights, full(0, steps, 1, 1, 1), (full(0, 1, 1, size),))


def _exponents(device: torch.device) -> float:
    """Return the error at a fixed point h = tanh(W h + b), where every Jacobian is diag(1 - h^2) W."""
    matrix = np.array([[0.9, 0.1, 0.0], [0.2, 0.4, 0.1], [0.0, 0.1, -0.2]])
    bias, steps = 0.1, 600
    h = np.zeros(3)
    for _ in range(steps):
        h = np.tanh(matrix @ h + bias)
    eigenvalues = np.linalg.eigvals(np.diag(1 - h**2) @ matrix)
    expected = torch.from_numpy(np.sort(np.log(np.abs(eigenvalues)))[::-1].copy())
    # The frame needs some steps to turn into the directions that grow fastest.
    found = lyapunov(_undriven(TANH, matrix, bias=bias, steps=steps, device=device), burn_in=steps // 2)
    return relative_error(found.forward[0, 0], expected, keep=1)


def _power_error(log10: Tensor, last: Tensor | float = 0.0) -> float:
    """Return the largest relative error of numbers, given as log10, that should be 10^last ALPHA^(T-t)."""
    expected = (torch.arange(LAG + 1, dtype=torch.float64).flip(0) * math.log10(ALPHA))[:, None, None] + last
    return float(torch.expm1((log10.cpu() - expected).abs() * math.log(10)).max())


def _powers(device: torch.device) -> float:
    """Return the error for ALPHA times an orthogonal matrix, which shrinks every direction by ALPHA."""
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    found = contributions(_undriven(LINEAR, ALPHA * turn, bias=0.0, steps=LAG + 1, device=device))
    return worst_error(_power_error(each) for each in (found.log10_norm, found.log10_gain))


def _replayed(device: torch.device) -> float:
    """Return the error for a network of one unit, whose squared error is computed here step by step."""
    task = Adding(seq_len=LAG + 1)
    batch = make_batch(task, device)
    network = make_network(AnyCell(cell=LINEAR, hidden_size=1), task, device)
    (layer,) = network.recurrent_layers
    with torch.no_grad():
        layer.get_parameter("weight_hh").fill_(ALPHA)
    (found,) = replay(network, task, batch)

    w = {name: weight.detach() for name, weight in layer.weights().items()}
    x = torch.einsum("rhi,trbi->trbh", w["weight_ih"], batch.inputs.double()) + (w["bias_ih"] + w["bias_hh"])[:, None]
    h = torch.zeros_like(x[0])
    for row in x:
        h = ALPHA * h + row
    readout = network.readout_weight.detach()
    error = readout * h + network.readout_bias.detach()[:, None] - batch.targets[0]
    last = (2 * error * readout).abs().squeeze(-1).log10()
    return _power_error(found["h"], last.cpu())
