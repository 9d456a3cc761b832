"""Nudge a state and continue: the slope of the loss must be the gradient that the engine recorded.

Run the first t steps, change the state by ±eps v, run the rest from there; the slope of the loss along v must be
<dL/ds_t, v>. A network that records the gradients of copies of its states passes every comparison of gradients; only a
nudge of the state that the sequence really continues from detects it. The checked gradient alone comes from a backward
pass.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from rnnstudy.core.seeding import make_generator
from rnnstudy.recurrence.base import States
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.verify.cells import all_cells, name_of
from rnnstudy.verify.finding import Finding, relative_error, worst_error
from rnnstudy.verify.problems import SMALL, Problem, Solved, make_problem, solve

NUDGES = (1e-5, 1e-7)
"""Sizes of a nudge; a central difference has errors of about eps^2 and 1e-15 / eps. The better one counts: the larger
can push a unit over the kink of a relu, and a wrong gradient is wrong for both."""

TOLERANCE = 1e-6

Nudge = Callable[[States, Tensor], tuple[States, States]]
"""Function of the states of the first steps, (time, replica, batch, hidden), and a move (replica, batch, hidden) of the
last; returns the states that the loss sees, and those (replica, batch, hidden) that the rest starts from."""


def check_nudged_states(device: torch.device) -> Iterator[Finding]:
    """Nudge every state of every cell, at every time step."""
    for cell in all_cells():
        problem = make_problem(cell, SMALL, device)
        solved = solve(problem)
        best: dict[tuple[str, str], float] = {}
        for eps in NUDGES:
            for what, against, error in _found(problem, solved, eps):
                best[what, against] = min(best.get((what, against), math.inf), error)
        for (what, against), error in best.items():
            yield Finding(check=what, against=against, cell=name_of(cell), error=error, tolerance=TOLERANCE)


def _found(problem: Problem, solved: Solved, eps: float) -> Iterator[tuple[str, str, float]]:
    """Yield the quantity checked, the quantity nudged, and the error."""
    cell, adjoints = problem.cell, solved.adjoints
    v = _directions(problem)

    def error(adjoint: Float[Tensor, "time replica batch hidden"], nudge: Nudge) -> float:
        # Relative to the largest of each time step.
        return relative_error((adjoint * v).sum(-1), _slopes(problem, eps * v, nudge) / eps, keep=1)

    for name in cell.recorded:
        found = error(adjoints[name].carried, partial(_later, cell.states.index(name)))
        yield f"dL/d{name}_t, carried", f"{name}_t nudged after step t", found
    yield "dL/dh_t, total", "h_t nudged for all", error(adjoints["h"].total, _output)
    if isinstance(cell, LSTMRecurrence):
        found = error(adjoints["c"].total, partial(_born, problem))
        yield "dL/dc_t, total", "c_t nudged before h_t", found
    found = worst_error(_initial(problem, solved, number=number, eps=eps) for number in range(len(cell.states)))
    yield "dL/dh_0, dL/dc_0", "h_0, c_0 nudged", found


def _directions(problem: Problem) -> Float[Tensor, "time replica batch hidden"]:
    """Draw a random direction for every time step and sequence."""
    like = problem.coefficients[0]
    drawn = torch.randn(like.shape, generator=make_generator(0, "verify nudge"), dtype=torch.float64)
    return drawn.to(like)


@torch.no_grad()
def _slopes(
    problem: Problem, moves: Float[Tensor, "time replica batch hidden"], nudge: Nudge
) -> Float[Tensor, "time replica batch"]:
    """Return half the difference of every sequence's loss between a move and its opposite, at every time step."""
    cell, steps = problem.cell, len(problem.inputs)
    slopes = []
    for t in range(steps):
        ends = []
        for move in (moves[t], -moves[t]):
            first = cell.unroll(problem.inputs[: t + 1], problem.state, problem.weights)
            seen, start = nudge(first, move)
            if t + 1 < steps:
                rest = cell.unroll(problem.inputs[t + 1 :], start, problem.weights)
                seen = tuple(torch.cat(pair) for pair in zip(seen, rest, strict=True))
            ends.append(problem.loss(seen))
        slopes.append((ends[0] - ends[1]) / 2)
    return torch.stack(slopes)


def _last(states: States) -> States:
    return tuple(state[-1] for state in states)


def _replaced(states: Tensor, last: Tensor) -> Tensor:
    return torch.cat([states[:-1], last.unsqueeze(0)])


def _later(number: int, first: States, move: Tensor) -> tuple[States, States]:
    """Move a state for the later steps only."""
    return first, tuple(s + move if index == number else s for index, s in enumerate(_last(first)))


def _output(first: States, move: Tensor) -> tuple[States, States]:
    """Move h_t for the loss and the later steps."""
    moved = (_replaced(first[0], first[0][-1] + move), *first[1:])
    return moved, _last(moved)


def _born(problem: Problem, first: States, move: Tensor) -> tuple[States, States]:
    """Move c_t before h_t = o_t tanh(c_t) is computed from it; o_t is that of the cell's equations."""
    t = len(first[0]) - 1
    pairs = zip(problem.state, first, strict=True)
    before = tuple(torch.cat([start.unsqueeze(0), states[:-1]])[-1:] for start, states in pairs)
    o = problem.cell.activated(problem.inputs[t : t + 1], before, problem.weights)["o"].values[0]
    c = first[1][-1] + move
    moved = (_replaced(first[0], o * torch.tanh(c)), _replaced(first[1], c))
    return moved, _last(moved)


@torch.no_grad()
def _initial(problem: Problem, solved: Solved, *, number: int, eps: float) -> float:
    """Return the error of autograd's gradient of an initial state."""
    v = _directions(problem)[0]

    def loss(move: Tensor) -> Tensor:
        start = tuple(s + move if index == number else s for index, s in enumerate(problem.state))
        return problem.loss(problem.cell.unroll(problem.inputs, start, problem.weights))

    gradient = solved.gradients[f"initial {problem.cell.states[number]}"]
    return relative_error((gradient * v).sum(-1), (loss(eps * v) - loss(-eps * v)) / (2 * eps), keep=0)
