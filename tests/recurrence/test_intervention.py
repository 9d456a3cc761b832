"""The recorded adjoint is the slope of the loss when a carried state is nudged: relative error 1e-6, float64.

A model that records copies of its states passes every comparison of gradients; only a nudge of the state that the
sequence really goes on with catches it.
"""

from collections.abc import Callable

import pytest
import torch
from reference.problems import RECURRENCES, Problem, Sizes, coefficients_like, make_problem, run_engine
from reference.unrolled import cell_of, params_of
from torch import Tensor

from rnnstudy.recurrence.base import Recurrence, States

EPS = 1e-6
SIZE = Sizes(time=8, replica=2, batch=2, input=2, hidden=3)
MEMBER_STATES = [(recurrence, name) for recurrence in RECURRENCES for name in recurrence.recorded]

member_states = pytest.mark.parametrize(("recurrence", "name"), MEMBER_STATES, ids=str)
steps = pytest.mark.parametrize("time_step", [0, 3, SIZE.time - 1])


def curved_loss(states: States) -> Tensor:
    """A loss on every state at every time step that is not linear in them."""
    pairs = zip(states, coefficients_like(states, 5), strict=True)
    return torch.stack([(k * (s + s.square() + s.sin())).sum() for s, k in pairs]).sum()


def slope(loss_of: Callable[[float], Tensor]) -> float:
    """Central difference; its errors are about EPS**2 and 1e-15 / EPS."""
    with torch.no_grad():
        return float((loss_of(EPS) - loss_of(-EPS)) / (2 * EPS))


def direction_like(state: Tensor) -> Tensor:
    """A random direction."""
    generator = torch.Generator().manual_seed(11)
    return torch.randn(state.shape, generator=generator, dtype=state.dtype)


def resume(recurrence: Recurrence, problem: Problem, seen: States, state: States) -> States:
    """The states `seen` so far, followed by those of the rest of the sequence run from `state`."""
    done = len(seen[0])
    if done == len(problem.inputs):
        return seen
    rest = recurrence.unroll(problem.inputs[done:], state, problem.weights)
    return tuple(torch.cat(pair) for pair in zip(seen, rest, strict=True))


@member_states
@steps
def test_nudge_what_is_carried(recurrence: Recurrence, name: str, time_step: int) -> None:
    """Only the rest of the sequence starts from the nudged state, nothing at `time_step` sees it: `carried`."""
    problem = make_problem(recurrence, SIZE)
    adjoint = run_engine(recurrence, problem, curved_loss).adjoints[name]
    number = recurrence.states.index(name)

    def loss_of(eps: float) -> Tensor:
        seen = recurrence.unroll(problem.inputs[: time_step + 1], problem.state, problem.weights)
        state = [s[-1].clone() for s in seen]
        state[number] += eps * direction
        return curved_loss(resume(recurrence, problem, seen, tuple(state)))

    direction = direction_like(problem.state[number])
    expected = float((adjoint.carried[time_step] * direction).sum())
    assert slope(loss_of) == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
@steps
def test_nudge_the_output(recurrence: Recurrence, time_step: int) -> None:
    """The output and the rest of the sequence both see the nudged h_t, other states held fixed: `total` of h."""
    problem = make_problem(recurrence, SIZE)
    adjoint = run_engine(recurrence, problem, curved_loss).adjoints["h"]

    def loss_of(eps: float) -> Tensor:
        seen = recurrence.unroll(problem.inputs[: time_step + 1], problem.state, problem.weights)
        nudged = tuple(s.clone() for s in seen)
        nudged[0][-1] += eps * direction
        return curved_loss(resume(recurrence, problem, nudged, tuple(s[-1] for s in nudged)))

    direction = direction_like(problem.state[0])
    expected = float((adjoint.total[time_step] * direction).sum())
    assert slope(loss_of) == pytest.approx(expected, rel=1e-6, abs=1e-8)


@member_states
@steps
def test_nudge_a_state_as_it_is_born(recurrence: Recurrence, name: str, time_step: int) -> None:
    """The rest of its own step sees the nudge too (h_t = o_t tanh(c_t + eps v)): `total` of every state.

    One step is taken with the plain cell, which is where a state can be changed before its step ends.
    """
    problem = make_problem(recurrence, SIZE)
    adjoint = run_engine(recurrence, problem, curved_loss).adjoints[name]
    direction = direction_like(problem.state[0])

    def plain_step(state: States, eps: float) -> States:
        def stepped(replica: int) -> States:
            def visit(visited: str, value: Tensor) -> Tensor:
                return value + eps * direction[replica] if visited == name else value

            x = problem.inputs[time_step, replica]
            params = params_of(problem.weights, replica)
            return cell_of(recurrence)(x, tuple(s[replica] for s in state), params, visit)

        return tuple(map(torch.stack, zip(*[stepped(r) for r in range(SIZE.replica)], strict=True)))

    def loss_of(eps: float) -> Tensor:
        if time_step == 0:
            born = plain_step(problem.state, eps)
            seen = tuple(s.unsqueeze(0) for s in born)
        else:
            before = recurrence.unroll(problem.inputs[:time_step], problem.state, problem.weights)
            born = plain_step(tuple(s[-1] for s in before), eps)
            seen = tuple(torch.cat([s, b.unsqueeze(0)]) for s, b in zip(before, born, strict=True))
        return curved_loss(resume(recurrence, problem, seen, born))

    expected = float((adjoint.total[time_step] * direction).sum())
    assert slope(loss_of) == pytest.approx(expected, rel=1e-6, abs=1e-8)
