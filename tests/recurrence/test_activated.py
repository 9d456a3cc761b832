"""Gates and activations of all time steps at once, against plain loops over replicas and time steps.

Float64, relative error 1e-10 of the largest value of a time step.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.problems import RECURRENCES, Problem, Sizes, assert_near, make_problem, sizes
from torch import Tensor

from rnnstudy.recurrence.activations import ACTIVATIONS, Nonlinearity
from rnnstudy.recurrence.base import Recurrence, States
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.indrnn import IndRNNRecurrence
from rnnstudy.recurrence.lru import LRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.residual import ResidualRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.recurrence.skip import SkipRecurrence

NAMES = {
    RNNRecurrence: ["h"],
    SkipRecurrence: ["h"],
    IndRNNRecurrence: ["h"],
    ResidualRecurrence: ["new"],
    LRURecurrence: [],
    GRURecurrence: ["r", "z", "n"],
    LSTMRecurrence: ["i", "f", "g", "o", "tanh_c"],
}
"""Gates of the cells whose equations are written here; a new cell need not have any."""

WRITTEN = [recurrence for recurrence in RECURRENCES if type(recurrence) in NAMES]
MEMBERS = [*WRITTEN, ResidualRecurrence(variant="residual", rate=1.7), SkipRecurrence(skip=2)]
members = pytest.mark.parametrize("recurrence", MEMBERS, ids=repr)
TANHS = {"g", "n", "new", "tanh_c"}


def sigmoid(value: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-value))


def activate(nonlinearity: str, value: Tensor, threshold: Tensor | None) -> Tensor:
    match nonlinearity:
        case "tanh":
            return torch.tanh(value)
        case "sigmoid":
            return sigmoid(value)
        case "relu":
            return torch.where(value > 0, value, 0)
        case "identity":
            return value
        case "modrelu":
            assert threshold is not None
            size = value.abs() + threshold
            return torch.where(size > 0, size, 0) * value.sign()
    raise AssertionError(nonlinearity)


def norm(sums: Tensor, gain: Tensor | None) -> Tensor:
    """Of one gate's sums, (batch, hidden); without a gain, as they are."""
    if gain is None:
        return sums
    centred = sums - sums.mean(-1, keepdim=True)
    return gain * centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def gate_by_gate(recurrence: Recurrence, x: Tensor, state: States, w: dict[str, Tensor]) -> dict[str, Tensor]:
    """What each gate of one replica puts out at one time step: the equations of the cells' docstrings."""
    h, size = state[0], state[0].shape[-1]

    def rows(name: str, block: int) -> Tensor:
        return w[name][block * size : (block + 1) * size]

    def gain(block: int) -> Tensor | None:
        return rows("gain", block) if "gain" in w else None

    def of_input(block: int) -> Tensor:
        return x @ rows("weight_ih", block).T

    def of_state(block: int) -> Tensor:
        return h @ rows("weight_hh", block).T

    def preactivation(block: int) -> Tensor:
        return norm(of_input(block) + of_state(block), gain(block)) + rows("bias_ih", block) + rows("bias_hh", block)

    match recurrence:
        case RNNRecurrence(nonlinearity=name):
            return {"h": activate(name, preactivation(0), w.get("threshold"))}
        case SkipRecurrence():
            return {"h": torch.tanh(preactivation(0) + state[-1] @ w["weight_skip"].T)}
        case IndRNNRecurrence(nonlinearity=name):
            return {"h": activate(name, x @ w["weight_ih"].T + w["bias"] + w["recurrent"] * h, None)}
        case ResidualRecurrence():
            return {"new": torch.tanh(preactivation(0))}
        case GRURecurrence():
            r, z = sigmoid(preactivation(0)), sigmoid(preactivation(1))
            recurrent = norm(of_state(2), gain(2)) + rows("bias_hh", 2)
            other = norm(of_input(2), gain(3)) + rows("bias_ih", 2)
            return {"r": r, "z": z, "n": torch.tanh(other + r * recurrent)}
        case LSTMRecurrence():
            i, f, o = (sigmoid(preactivation(block)) for block in (0, 1, 3))
            g = torch.tanh(preactivation(2))
            return {"i": i, "f": f, "g": g, "o": o, "tanh_c": torch.tanh(f * state[1] + i * g)}
        case LRURecurrence():
            return {}
    raise AssertionError(f"{recurrence!r} has no equations here: write them down.")


def run(recurrence: Recurrence, problem: Problem) -> tuple[States, States]:
    """The states after every time step, and before it."""
    states = recurrence.unroll(problem.inputs, problem.state, problem.weights)
    before = tuple(torch.cat([first[None], s[:-1]]) for first, s in zip(problem.state, states, strict=True))
    return states, before


def check_gates(recurrence: Recurrence, size: Sizes) -> None:
    problem = make_problem(recurrence, size)
    _, before = run(recurrence, problem)
    activated = recurrence.activated(problem.inputs, before, problem.weights)
    assert list(activated) == NAMES[type(recurrence)]
    for name, gate in activated.items():
        steps = [
            torch.stack(
                [
                    gate_by_gate(
                        recurrence,
                        problem.inputs[t, r],
                        tuple(state[t, r] for state in before),
                        {key: weight[r] for key, weight in problem.weights.items()},
                    )[name]
                    for r in range(problem.inputs.shape[1])
                ]
            )
            for t in range(len(problem.inputs))
        ]
        assert_near(gate.values, torch.stack(steps).detach(), name)


@members
@given(size=sizes(max_time=4))
@settings(max_examples=15)
def test_every_gate_follows_the_equations_of_its_cell_whatever_the_sizes(recurrence: Recurrence, size: Sizes) -> None:
    check_gates(recurrence, size)


@members
def test_every_gate_follows_the_equations_of_its_cell_over_a_longer_sequence(recurrence: Recurrence) -> None:
    check_gates(recurrence, Sizes(time=60, replica=3, batch=5, input=3, hidden=8))


def rebuilt(recurrence: Recurrence, gates: dict[str, Tensor], before: States) -> States:
    """The states that follow from the gates and the states before."""
    match recurrence:
        case LSTMRecurrence():
            return gates["o"] * gates["tanh_c"], gates["f"] * before[1] + gates["i"] * gates["g"]
        case GRURecurrence():
            return ((1 - gates["z"]) * gates["n"] + gates["z"] * before[0],)
        case ResidualRecurrence(variant="leaky", rate=rate):
            return ((1 - rate) * before[0] + rate * gates["new"],)
        case ResidualRecurrence(variant="residual", rate=rate):
            return (before[0] + rate * gates["new"],)
    return (gates["h"], *before[:-1])


@pytest.mark.parametrize("recurrence", [each for each in MEMBERS if not isinstance(each, LRURecurrence)], ids=repr)
def test_the_gates_and_the_states_before_give_the_states_of_the_scan(recurrence: Recurrence) -> None:
    problem = make_problem(recurrence, Sizes(time=11))
    states, before = run(recurrence, problem)
    activated = recurrence.activated(problem.inputs, before, problem.weights)
    again = rebuilt(recurrence, {name: gate.values for name, gate in activated.items()}, before)
    for number, (actual, expected) in enumerate(zip(again, states, strict=True)):
        assert_near(actual.detach(), expected.detach(), f"state {number}")


@members
@given(size=sizes(max_time=9))
@settings(max_examples=15)
def test_one_step_from_the_states_before_gives_the_states_of_the_scan(recurrence: Recurrence, size: Sizes) -> None:
    problem = make_problem(recurrence, size)
    states, before = run(recurrence, problem)
    again = recurrence.step(problem.inputs, before, problem.weights)
    for name, actual, expected in zip(recurrence.states, again, states, strict=True):
        assert_near(actual, expected.detach(), name)


@members
def test_looking_at_the_gates_leaves_everything_as_it_was_and_makes_no_graph(recurrence: Recurrence) -> None:
    problem = make_problem(recurrence, Sizes())
    _, before = run(recurrence, problem)
    given_to = [problem.inputs, *before, *problem.weights.values()]
    copies = [tensor.detach().clone() for tensor in given_to]
    activated = recurrence.activated(problem.inputs, before, problem.weights)
    assert not any(gate.values.requires_grad for gate in activated.values())
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(given_to, copies, strict=True))


@members
def test_every_gate_is_told_with_its_own_activation(recurrence: Recurrence) -> None:
    problem = make_problem(recurrence, Sizes())
    _, before = run(recurrence, problem)
    for name, gate in recurrence.activated(problem.inputs, before, problem.weights).items():
        if name == "h":
            assert gate.nonlinearity == getattr(recurrence, "nonlinearity", "tanh")
        else:
            assert gate.nonlinearity == ("tanh" if name in TANHS else "sigmoid")


@pytest.mark.parametrize("nonlinearity", ACTIVATIONS)
@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=20), threshold=st.floats(-1, 1))
def test_the_derivative_at_what_was_put_out_is_that_of_autograd(
    nonlinearity: Nonlinearity, values: list[float], threshold: float
) -> None:
    """At exactly 0 a relu's derivative is 0, as torch has it."""
    preactivations = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    output = activate(nonlinearity, preactivations, torch.tensor(threshold, dtype=torch.float64))
    (expected,) = torch.autograd.grad(output.sum(), preactivations)
    kept = output.detach().clone()
    derivative = ACTIVATIONS[nonlinearity].derivative(kept)
    assert torch.allclose(derivative, expected, rtol=1e-12, atol=1e-14)
    assert torch.equal(kept, output.detach())
