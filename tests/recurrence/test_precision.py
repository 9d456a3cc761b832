"""Float32 against float64: on a healthy network, and where the adjoint has lost or gained tens of decades."""

import math
from dataclasses import dataclass

import pytest
import torch
from reference.problems import RECURRENCES, Problem, Sizes, assert_near, losses, make_problem, run_engine
from torch import Tensor

from rnnstudy.recurrence.base import CellWeights, Recurrence
from rnnstudy.recurrence.rnn import RNNRecurrence

members = pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
SIZE = Sizes(time=50, replica=2, batch=3, input=3, hidden=16)

STEP_ERROR = (SIZE.input + SIZE.hidden + 2) * torch.finfo(torch.float32).eps
"""Rounding of one step: a sum of input + 1 + hidden products, and the activation."""


def in_float32(problem: Problem) -> Problem:
    """The same numbers, rounded once."""
    return problem.map(lambda tensor: tensor.float())


def log10_norms(adjoint: Tensor) -> Tensor:
    """log10 of the norm at every time step and replica, reduced in float64."""
    return adjoint.double().flatten(2).norm(dim=-1).log10()


@members
def test_healthy(recurrence: Recurrence) -> None:
    """At most the rounding of one step for each of the steps, forward and back.

    With weights of about half the unit norm errors are not amplified from step to step, so the errors of 2 * 50
    steps can add up and do no more.
    """
    size = Sizes(**{**vars(SIZE), "gain": 0.5})
    problem = make_problem(recurrence, size)
    exact, single = run_engine(recurrence, problem), run_engine(recurrence, in_float32(problem))
    left, right = single.tensors(), exact.tensors()
    for name in left:
        assert left[name].dtype == torch.float32
        assert_near(left[name].double(), right[name], name, rtol=2 * SIZE.time * STEP_ERROR, floor=0)


@members
def test_vanishing(recurrence: Recurrence) -> None:
    """Down to a norm of 1e-30 float32 has the decade right to 1e-5 of it.

    The adjoint is a product, so its relative error grows by `STEP_ERROR` a step, to 1e-3 at most: 4e-4 in log10,
    of 30. It ends at 1e-30 because single numbers below 1e-38 are subnormal.
    """
    problem = make_problem(recurrence, Sizes(time=160, replica=2, batch=3, input=3, hidden=16, gain=0.3))
    loss = losses()["output at the last step"]
    exact, single = run_engine(recurrence, problem, loss), run_engine(recurrence, in_float32(problem), loss)
    for name in recurrence.states:
        expected = log10_norms(exact.adjoints[name].total)
        actual = log10_norms(single.adjoints[name].total)
        small = (expected > -30) & (expected < -10)
        assert bool((expected[small] < -28).any()), "the network does not vanish"
        assert bool(((actual - expected).abs()[small] <= 1e-5 * expected.abs()[small]).all())


@dataclass(frozen=True)
class Exploding:
    """A fixed point that the states do not leave although the adjoint grows at every step back."""

    gain: float
    """The recurrent weight is this times a permutation."""
    bias: float
    state: float


FIXED_POINTS: dict[Recurrence, Exploding] = {
    RNNRecurrence(nonlinearity="sigmoid"): Exploding(gain=8.0, bias=-4.0, state=0.5),
    RNNRecurrence(nonlinearity="relu"): Exploding(gain=2.0, bias=0.0, state=1.0),
}
"""Others rest at zero; the relu, which has no derivative there, grows with its adjoint."""


def exploding_problem(recurrence: Recurrence, size: Sizes) -> Problem:
    """No inputs; every gate block of the recurrent weight is the same scaled cyclic permutation."""
    point = FIXED_POINTS.get(recurrence, Exploding(gain=8.0, bias=0.0, state=0.0))
    zero = make_problem(recurrence, size).map(torch.zeros_like)
    permutation = torch.eye(size.hidden, dtype=torch.float64).roll(1, 0).repeat(recurrence.gates, 1)
    weights = CellWeights(
        weight_ih=zero.weights.weight_ih,
        weight_hh=(point.gain * permutation).expand(size.replica, -1, -1).clone().requires_grad_(),
        bias_ih=torch.full_like(zero.weights.bias_ih, point.bias).requires_grad_(),
        bias_hh=zero.weights.bias_hh,
    )
    state = tuple(torch.full_like(s, point.state).requires_grad_() for s in zero.state)
    return Problem(inputs=zero.inputs, state=state, weights=weights)


@members
def test_exploding(recurrence: Recurrence) -> None:
    """Up to a norm of 1e25, whose square float32 cannot hold, and with finite gradients."""
    size = Sizes(time=84, replica=2, batch=3, input=3, hidden=16)
    problem = exploding_problem(recurrence, size)
    loss = losses()["output at the last step"]
    exact, single = run_engine(recurrence, problem, loss), run_engine(recurrence, in_float32(problem), loss)
    for name in recurrence.states:
        expected = log10_norms(exact.adjoints[name].total)
        actual = log10_norms(single.adjoints[name].total)
        below = expected < 30
        assert bool((expected[below] > 25).any()), f"the network does not explode: {expected.max()}"
        assert bool(((actual - expected).abs()[below] <= size.time * STEP_ERROR / math.log(10)).all())
