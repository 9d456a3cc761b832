"""The engine against torch.nn's own cells, unrolled in a loop, with `retain_grad()` on every state.

This is PyTorch's own, slow, way to dL/dh_t. It runs on the CPU in float64, on any device of the engine: there the c_t
that an LSTMCell returns is the very tensor that its h_t is computed from, so its gradient is the total one.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnstudy.recurrence.base import Recurrence, States
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.verify.cells import all_cells, has_kink, name_of
from rnnstudy.verify.finding import Finding, relative_error, worst_error
from rnnstudy.verify.problems import LARGE, Problem, Solved, make_problem, solve
from rnnstudy.verify.torch_cells import torch_cell, unroll_steps

CPU = torch.device("cpu")
TOLERANCE = 1e-10
SINGLE_TOLERANCE = 1e-4
"""Tolerance in float32."""


def check_against_autograd(device: torch.device) -> Iterator[Finding]:
    """Compare every cell that torch.nn has."""
    for cell in (each for each in all_cells() if each.in_torch):
        reference = make_problem(cell, LARGE, CPU)
        problem = make_problem(cell, LARGE, device)
        everywhere = _unrolled(reference)
        double = solve(problem)
        states = zip(double.states, everywhere.states, strict=True)
        error = worst_error(relative_error(one, other, keep=2) for one, other in states)
        yield Finding(check="h_t, c_t", against="nn cells", cell=name_of(cell), error=error, tolerance=TOLERANCE)
        yield from _findings(cell, double, everywhere, loss="all over")
        yield from _findings(cell, solve(problem, at_end=True), _unrolled(reference, at_end=True), loss="at end")
        # A relu that rounding switches on or off makes the gradient jump, which is not an error.
        if not has_kink(cell):
            single = solve(make_problem(cell, LARGE, device, torch.float32))
            yield from _findings(cell, single, everywhere, loss="all over", single=True)
    yield _fused()


@dataclass(frozen=True, kw_only=True)
class _Unrolled:
    """Results of autograd; `totals` holds dL/ds_t of every state, (time, replica, batch, hidden)."""

    states: States
    totals: States
    gradients: dict[str, Tensor]


def _findings(
    cell: Recurrence, solved: Solved, expected: _Unrolled, *, loss: str, single: bool = False
) -> Iterator[Finding]:
    def finding(check: str, error: float) -> Finding:
        check = f"{check}, float32" if single else check
        tolerance = SINGLE_TOLERANCE if single else TOLERANCE
        against = f"nn cells, loss {loss}"
        return Finding(check=check, against=against, cell=name_of(cell), error=error, tolerance=tolerance)

    for name, total in zip(cell.states, expected.totals, strict=True):
        yield finding(f"dL/d{name}_t", relative_error(solved.adjoints[name].total, total, keep=2))
    yield finding(
        "dL/dW, dL/dx",
        worst_error(
            # By time and replica for inputs, by replica for everything else.
            relative_error(solved.gradients[name], wanted, keep=2 if name == "inputs" else 1)
            for name, wanted in expected.gradients.items()
        ),
    )


def _unrolled(problem: Problem, *, at_end: bool = False) -> _Unrolled:
    """Unroll torch.nn's cell over a problem, one replica after the other."""
    sizes = (problem.inputs.shape[-1], problem.state[0].shape[-1])
    modules = [torch_cell(problem.cell, *sizes) for _ in range(problem.inputs.shape[1])]
    seen = [_states(module, problem, replica) for replica, module in enumerate(modules)]
    states = _stacked(seen)
    loss = problem.loss_at_end(states[0][-1]) if at_end else problem.loss(states)
    leaves = {name: leaf for name, leaf in problem.leaves.items() if name not in problem.weights}
    for leaf in leaves.values():
        leaf.grad = None
    loss.sum().backward()
    totals = _stacked([[tuple(map(_grad, step)) for step in steps] for steps in seen])
    gradients = {name: _grad(leaf) for name, leaf in leaves.items()}
    for name in problem.weights:
        gradients[name] = torch.stack([_grad(module.get_parameter(name)) for module in modules])
    return _Unrolled(states=states, totals=totals, gradients=gradients)


def _states(module: nn.RNNCellBase, problem: Problem, replica: int) -> list[States]:
    """Return every state at every time step, each (batch, hidden), with its gradient retained."""
    with torch.no_grad():
        for name, weight in problem.weights.items():
            module.get_parameter(name).copy_(weight[replica])
    start = tuple(each[replica] for each in problem.state)
    seen = unroll_steps([module] * len(problem.inputs), problem.inputs[:, replica], start)
    for each in itertools.chain.from_iterable(seen):
        each.retain_grad()
    return seen


def _stacked(found: list[list[States]]) -> States:
    """Stack the states of each replica and time step to one tensor (time, replica, batch, hidden) per state."""
    numbers = range(len(found[0][0]))
    return tuple(torch.stack([torch.stack([step[n] for step in steps]) for steps in found], dim=1) for n in numbers)


def _grad(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def _fused() -> Finding:
    """Try what most people try first: `retain_grad()` on the output of a fused nn.LSTM, with a loss at the end."""
    problem = make_problem(LSTMRecurrence(), LARGE, CPU)
    (true, *_) = _unrolled(problem, at_end=True).totals
    module = nn.LSTM(LARGE.input, LARGE.hidden, dtype=torch.float64)
    with torch.no_grad():
        for name, weight in problem.weights.items():
            module.get_parameter(f"{name}_l0").copy_(weight[0])
    output, _ = module(problem.inputs[:, 0], tuple(state[:1] for state in problem.state))
    output.retain_grad()
    (problem.coefficients[0][-1, 0] * output[-1]).sum().backward()
    retained: Float[Tensor, "time batch hidden"] = _grad(output)
    kept, all_steps = (int(each.flatten(1).any(1).sum()) for each in (retained, true[:, 0]))
    return Finding(
        check="dL/dh_t of fused LSTM",
        against="nn cells, loss at end",
        cell="lstm",
        error=relative_error(retained, true[:, 0], keep=1),
        tolerance=None,
        remark=(
            "retain_grad() on the output of a fused torch.nn.LSTM, loss at the end, gives a gradient other than zero "
            f"at {kept} of {LARGE.time} time steps, where the true one has {all_steps}: what reaches h_t through later "
            "states stays inside of the module."
        ),
    )
