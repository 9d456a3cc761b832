"""Members that are another member for some weights, and adjoints that can be written down."""

from dataclasses import replace

import pytest
import torch
from reference.cells.lru import as_complex, lru_eigenvalues
from reference.discovery import variants
from reference.problems import (
    RECURRENCES,
    Outcome,
    Problem,
    Sizes,
    assert_near,
    assert_same,
    coefficients_like,
    losses,
    make_problem,
    run_engine,
)
from torch import Tensor

from rnnstudy.recurrence.base import Recurrence, States
from rnnstudy.recurrence.indrnn import IndRNNRecurrence
from rnnstudy.recurrence.lru import LRURecurrence
from rnnstudy.recurrence.residual import ResidualRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.recurrence.skip import SkipRecurrence

RTOL = 1e-12
SIZE = Sizes(time=40, replica=2, batch=3, input=3, hidden=8)


def at_the_end(recurrence: Recurrence, problem: Problem) -> tuple[Tensor, Tensor]:
    """A random derivative of the loss with respect to the last output, and the adjoint that it makes of all outputs."""
    (derivative,) = coefficients_like(problem.state[:1], 2)

    def loss(states: States) -> Tensor:
        return (states[0][-1] * derivative).sum()

    return derivative, run_engine(recurrence, problem, loss).adjoints["h"].total


def test_leaky_that_keeps_nothing_is_the_vanilla_recurrence() -> None:
    """States, gradients and adjoints."""
    problem = make_problem(RNNRecurrence(), SIZE)
    leaky = run_engine(ResidualRecurrence(variant="leaky", rate=1.0), problem)
    assert_same(leaky, run_engine(RNNRecurrence(), problem), RTOL)


def assert_within(actual: Outcome, expected: Outcome) -> None:
    """Everything that the second outcome has is near what the first has by that name."""
    left, right = actual.tensors(), expected.tensors()
    for name in right:
        assert_near(left[name], right[name], name, RTOL)


def test_skip_without_weights_is_the_vanilla_recurrence() -> None:
    """The weight's own gradient remains, what was before the sequence gets none."""
    problem = make_problem(SkipRecurrence(), SIZE)
    zero = torch.zeros_like(problem.weights["weight_skip"]).requires_grad_()
    problem = replace(problem, weights={**problem.weights, "weight_skip": zero})
    plain_weights = {name: weight for name, weight in problem.weights.items() if name != "weight_skip"}
    plain = Problem(inputs=problem.inputs, state=problem.state[:1], weights=plain_weights)

    loss = losses()["output at all steps"]
    skipping = run_engine(SkipRecurrence(), problem, loss)
    assert_within(skipping, run_engine(RNNRecurrence(), plain, loss))
    assert bool(skipping.gradients["weight_skip"].any())
    assert not skipping.gradients["initial_1"].any()
    assert not skipping.gradients["initial_2"].any()


@pytest.mark.parametrize("skip", [2, 3, 5, 60])
def test_the_other_states_of_skip_repeat_the_output(skip: int) -> None:
    """State "h-k" is h of k steps before, or an initial state, bit for bit."""
    recurrence = SkipRecurrence(skip=skip)
    problem = make_problem(recurrence, SIZE)
    states = run_engine(recurrence, problem).states
    oldest_first = torch.cat([torch.stack(problem.state[::-1]).detach(), states[0]])
    for back, state in enumerate(states):
        start = skip - back
        assert torch.equal(state, oldest_first[start : start + SIZE.time])


@pytest.mark.parametrize("recurrence", variants(IndRNNRecurrence), ids=repr)
def test_indrnn_is_the_vanilla_recurrence_with_a_diagonal_weight(recurrence: IndRNNRecurrence) -> None:
    """Its gradient is the diagonal of the gradient there."""
    problem = make_problem(recurrence, SIZE)
    weights = {
        "weight_ih": problem.weights["weight_ih"],
        "weight_hh": torch.diag_embed(problem.weights["recurrent"]),
        "bias_ih": problem.weights["bias"],
        "bias_hh": torch.zeros_like(problem.weights["bias"]),
    }
    vanilla = RNNRecurrence(nonlinearity=recurrence.nonlinearity)
    full = run_engine(vanilla, replace(problem, weights=weights).map(torch.clone))
    of = full.gradients
    diagonal = of["weight_hh"].diagonal(dim1=-2, dim2=-1)
    kept = {name: of[name] for name in ("inputs", "initial_0", "weight_ih")}
    expected = {**kept, "recurrent": diagonal, "bias": of["bias_ih"]}
    assert_same(run_engine(recurrence, problem), replace(full, gradients=expected), RTOL)


def test_adjoint_of_the_lru_is_a_power_of_its_eigenvalues() -> None:
    """From the last step back to step t it is multiplied by conj(Lambda) to the power of T - 1 - t."""
    recurrence = LRURecurrence()
    problem = make_problem(recurrence, SIZE)
    derivative, adjoint = at_the_end(recurrence, problem)
    eigenvalues = lru_eigenvalues(problem.weights["log_decay"], problem.weights["log_phase"]).detach()
    for time_step, actual in enumerate(adjoint):
        power = eigenvalues.conj() ** (SIZE.time - 1 - time_step)
        expected = power[:, None] * as_complex(derivative)
        assert_near(as_complex(actual), expected, f"adjoint at {time_step}", RTOL, floor=0)


def test_adjoint_of_a_linear_network_is_a_power_of_its_weight() -> None:
    """From the last step back to step t it is multiplied by the transposed weight to the power of T - 1 - t."""
    recurrence = RNNRecurrence(nonlinearity="identity")
    problem = make_problem(recurrence, SIZE)
    derivative, adjoint = at_the_end(recurrence, problem)
    weight = problem.weights["weight_hh"].detach()
    for time_step, actual in enumerate(adjoint):
        power = torch.linalg.matrix_power(weight, SIZE.time - 1 - time_step)
        assert_near(actual, derivative @ power, f"adjoint at {time_step}", RTOL, floor=0)


@pytest.mark.parametrize("recurrence", [r for r in RECURRENCES if getattr(r, "layer_norm", False)], ids=repr)
def test_layer_norm_does_not_see_the_scale_of_the_weights(recurrence: Recurrence) -> None:
    """But for 1e-5 beside the variance, which is of size 1e4 here; so no gradient goes along the weights."""
    problem = make_problem(recurrence, replace(SIZE, gain=100.0))
    products = {name: problem.weights[name] for name in ("weight_ih", "weight_hh")}
    biases = {name: problem.weights[name] / 100 for name in ("bias_ih", "bias_hh")}
    problem = replace(problem, weights={**problem.weights, **biases}).map(torch.clone)
    larger = {name: 7 * weight for name, weight in products.items()}
    scaled = replace(problem, weights={**problem.weights, **larger}).map(torch.clone)

    outcome = run_engine(recurrence, problem)
    for before, after in zip(outcome.states, run_engine(recurrence, scaled).states, strict=True):
        assert_near(after, before, "state", rtol=1e-6)
    gradient = torch.cat([outcome.gradients[name].flatten(1) for name in products], dim=1)
    weights = torch.cat([weight.detach().flatten(1) for weight in products.values()], dim=1)
    along = (gradient * weights).sum(1).abs() / (gradient.norm(dim=1) * weights.norm(dim=1))
    assert bool((along < 1e-6).all()), along
