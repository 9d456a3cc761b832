"""The engine against torch.nn's own cells, unrolled in a loop, with `retain_grad()` on every state.

That is the slow way that PyTorch itself offers to dL/dh_t. It runs on the CPU in float64, whatever the engine runs on:
there, the c_t that an LSTMCell gives is the very tensor its h_t is made of, and so its gradient is the total one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnstudy.recurrence.base import Recurrence, States
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.verify.cells import all_cells, has_kink, name_of
from rnnstudy.verify.figures import Figure, relative_error, worst
from rnnstudy.verify.problems import LARGE, Problem, Solved, make_problem, solve

CPU = torch.device("cpu")
TOLERANCE = 1e-10
SINGLE_TOLERANCE = 1e-4
"""In float32."""


def check(device: torch.device) -> Iterator[Figure]:
    """Compare every cell that torch.nn has.

    Yields:
        The figures.
    """
    for cell in (each for each in all_cells() if each.in_torch):
        reference = make_problem(cell, LARGE, CPU)
        problem = make_problem(cell, LARGE, device)
        everywhere = _unrolled(reference)
        double = solve(problem)
        states = zip(double.states, everywhere.states, strict=True)
        error = worst(relative_error(one, other, keep=2) for one, other in states)
        yield Figure(check="h_t, c_t", against="nn cells", cell=name_of(cell), error=error, tolerance=TOLERANCE)
        yield from _figures(cell, double, everywhere, loss="all over")
        yield from _figures(cell, solve(problem, at_end=True), _unrolled(reference, at_end=True), loss="at end")
        # A relu that rounding switches on or off changes the gradient at once, and is no error.
        if not has_kink(cell):
            single = solve(make_problem(cell, LARGE, device, torch.float32))
            yield from _figures(cell, single, everywhere, loss="all over", single=True)
    yield _fused()


@dataclass(frozen=True, kw_only=True)
class _Unrolled:
    """What autograd gives; `totals` holds dL/ds_t of every state, (time, replica, batch, hidden)."""

    states: States
    totals: States
    gradients: dict[str, Tensor]


def _figures(
    cell: Recurrence, solved: Solved, expected: _Unrolled, *, loss: str, single: bool = False
) -> Iterator[Figure]:
    def figure(check: str, error: float) -> Figure:
        check = f"{check}, float32" if single else check
        tolerance = SINGLE_TOLERANCE if single else TOLERANCE
        against = f"nn cells, loss {loss}"
        return Figure(check=check, against=against, cell=name_of(cell), error=error, tolerance=tolerance)

    for name, total in zip(cell.states, expected.totals, strict=True):
        yield figure(f"dL/d{name}_t", relative_error(solved.adjoints[name].total, total, keep=2))
    yield figure(
        "dL/dW, dL/dx",
        worst(_gradient_error(name, solved.gradients[name], wanted) for name, wanted in expected.gradients.items()),
    )


def _gradient_error(name: str, actual: Tensor, expected: Tensor) -> float:
    """Inputs have two axes to be kept, time and replica; all else has the replica alone."""
    return relative_error(actual, expected, keep=2 if name == "inputs" else 1)


def _module(cell: Recurrence, input_size: int, hidden_size: int) -> nn.RNNCellBase:
    """The cell of torch.nn for one time step, in float64.

    Returns:
        The cell, with weights of its own.

    Raises:
        AssertionError: The cell says that torch.nn has it, but nobody has said here what it is called there.
    """
    match cell:
        case RNNRecurrence():
            module = nn.RNNCell(input_size, hidden_size, nonlinearity=cell.nonlinearity, dtype=torch.float64)
        case GRURecurrence():
            module = nn.GRUCell(input_size, hidden_size, dtype=torch.float64)
        case LSTMRecurrence():
            module = nn.LSTMCell(input_size, hidden_size, dtype=torch.float64)
        case _:
            raise AssertionError(f"say here which cell of torch.nn {cell} is")
    return module


def _unrolled(problem: Problem, *, at_end: bool = False) -> _Unrolled:
    """Unroll torch.nn's cell over a problem, one replica after the other."""
    sizes = (problem.inputs.shape[-1], problem.state[0].shape[-1])
    replicas = range(problem.inputs.shape[1])
    modules = [_module(problem.cell, *sizes) for _ in replicas]
    seen = [_states(module, problem, replica) for replica, module in enumerate(modules)]
    # (replica, time) of tensors to one tensor a state.
    states = tuple(
        torch.stack([torch.stack([step[number] for step in steps]) for steps in seen], dim=1)
        for number in range(len(problem.state))
    )
    loss = problem.loss_at_end(states[0][-1]) if at_end else problem.loss(states)
    leaves = {name: leaf for name, leaf in problem.leaves.items() if name not in problem.weights}
    for leaf in leaves.values():
        leaf.grad = None
    loss.sum().backward()
    totals = tuple(
        torch.stack([torch.stack([_grad(step[number]) for step in steps]) for steps in seen], dim=1)
        for number in range(len(problem.state))
    )
    gradients = {name: _grad(leaf) for name, leaf in leaves.items()}
    for name in problem.weights:
        gradients[name] = torch.stack([_grad(module.get_parameter(name)) for module in modules])
    return _Unrolled(states=states, totals=totals, gradients=gradients)


def _states(module: nn.RNNCellBase, problem: Problem, replica: int) -> list[States]:
    """Every state at every time step, each (batch, hidden), its gradient to be kept."""
    with torch.no_grad():
        for name, weight in problem.weights.items():
            module.get_parameter(name).copy_(weight[replica])
    state: States = tuple(each[replica] for each in problem.state)
    seen: list[States] = []
    for row in problem.inputs[:, replica].unbind(0):
        hidden, *others = state
        after = module(row, state if others else hidden)
        state = after if isinstance(after, tuple) else (after,)
        for each in state:
            each.retain_grad()
        seen.append(state)
    return seen


def _grad(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def _fused() -> Figure:
    """What most people try first: `retain_grad()` on what a fused nn.LSTM puts out, with a loss at the end."""
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
    return Figure(
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
