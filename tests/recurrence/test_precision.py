"""Float32 against float64: on a healthy network, and where the adjoint has lost or gained tens of decades."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from reference.problems import RECURRENCES, Problem, Sizes, assert_near, losses, make_problem, run_engine
from torch import Tensor

from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.indrnn import IndRNNRecurrence
from rnnstudy.recurrence.lru import LRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.residual import ResidualRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.recurrence.skip import SkipRecurrence

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


def vanishing_problem(recurrence: Recurrence, size: Sizes) -> Problem:
    """Small weights, and what else it takes where they alone do not make the adjoint vanish."""
    problem = make_problem(recurrence, size)
    weights = {name: weight.detach() for name, weight in problem.weights.items()}
    if "gain" in weights:
        # Whatever the weights, normalised pre-activations are as large as the gain.
        weights["gain"] = 0.1 * weights["gain"]
    match recurrence:
        case ResidualRecurrence(variant="residual"):
            # All of the state is kept: nothing vanishes but what the new part takes back, here about half a step.
            weights["weight_hh"] = weights["weight_hh"] - torch.eye(size.hidden, dtype=torch.float64)
        case SkipRecurrence():
            # Three steps back at once cost as much as one.
            weights["weight_skip"] = 0.1 * weights["weight_skip"]
        case LRURecurrence():
            # The scale of its weights does not enter |Lambda|.
            weights["log_decay"] = weights["log_decay"] + 1
        case IndRNNRecurrence(nonlinearity="relu"):
            # No adjoint gets past a unit that is off; of what is positive none is.
            return problem.map(torch.abs)
    return replace(problem, weights=weights).map(torch.clone)


@members
def test_vanishing(recurrence: Recurrence) -> None:
    """Down to a norm of 1e-30 float32 has the decade right to 1e-5 of it.

    The adjoint is a product, so its relative error grows by `STEP_ERROR` a step, to 1e-3 at most: 4e-4 in log10,
    of 30. It ends at 1e-30 because single numbers below 1e-38 are subnormal.
    """
    problem = vanishing_problem(recurrence, Sizes(time=160, replica=2, batch=3, input=3, hidden=16, gain=0.3))
    loss = losses()["output at the last step"]
    exact, single = run_engine(recurrence, problem, loss), run_engine(recurrence, in_float32(problem), loss)
    for name in recurrence.recorded:
        expected = log10_norms(exact.adjoints[name].total)
        actual = log10_norms(single.adjoints[name].total)
        small = (expected > -30) & (expected < -10)
        assert bool((expected[small] < -28).any()), "the network does not vanish"
        assert bool(((actual - expected).abs()[small] <= 1e-5 * expected.abs()[small]).all())


@dataclass(frozen=True, kw_only=True)
class Exploding:
    """A fixed point that the states do not leave although the adjoint grows at every step back."""

    gain: float = 8.0
    """The recurrent weight is this times a permutation."""
    bias: float = 0.0
    state: float = 0.0


def fixed_point(recurrence: Recurrence) -> Exploding:
    """Most rest at zero; a relu, which has no derivative there, grows with its adjoint.

    At a fixed point all units are equal: a layer normalisation makes zeros of them, with the slope 1 / sqrt(1e-5).
    """
    match recurrence:
        case RNNRecurrence(nonlinearity="sigmoid", layer_norm=False):
            return Exploding(bias=-4.0, state=0.5)
        case RNNRecurrence(nonlinearity="sigmoid", layer_norm=True):
            return Exploding(gain=0.1, state=0.5)
        case RNNRecurrence(nonlinearity="relu" | "modrelu", layer_norm=True):
            return Exploding(gain=0.1, bias=1.0, state=1.0)
        case RNNRecurrence(nonlinearity="relu" | "modrelu") | IndRNNRecurrence(nonlinearity="relu"):
            return Exploding(gain=2.0, state=1.0)
        case RNNRecurrence(layer_norm=True) | GRURecurrence(layer_norm=True) | LSTMRecurrence(layer_norm=True):
            return Exploding(gain=0.1)
    return Exploding()


def exploding_problem(recurrence: Recurrence, size: Sizes) -> Problem:
    """No inputs; every gate block of the recurrent weights is the same scaled cyclic permutation."""
    point = fixed_point(recurrence)
    zero = make_problem(recurrence, size).map(torch.zeros_like)
    permutation = torch.eye(size.hidden, dtype=torch.float64).roll(1, 0).repeat(recurrence.gates, 1)
    values = {
        "weight_hh": point.gain * permutation,
        "weight_skip": point.gain * permutation,
        "recurrent": torch.tensor(point.gain),
        "bias": torch.tensor(point.bias),
        "bias_ih": torch.tensor(point.bias),
        "gain": torch.tensor(1.0),
    }
    weights = {name: weight.detach() + values.get(name, 0) for name, weight in zero.weights.items()}
    state = tuple(torch.full_like(s, point.state) for s in zero.state)
    return Problem(inputs=zero.inputs, state=state, weights=weights).map(torch.clone)


CANNOT_EXPLODE = {LRURecurrence()}
"""|Lambda| = exp(-exp(log_decay)) is below 1 whatever the weights are."""


@pytest.mark.parametrize("recurrence", [r for r in RECURRENCES if r not in CANNOT_EXPLODE], ids=repr)
def test_exploding(recurrence: Recurrence) -> None:
    """Up to a norm of 1e25, whose square float32 cannot hold, and with finite gradients."""
    size = Sizes(time=84, replica=2, batch=3, input=3, hidden=16)
    problem = exploding_problem(recurrence, size)
    loss = losses()["output at the last step"]
    exact, single = run_engine(recurrence, problem, loss), run_engine(recurrence, in_float32(problem), loss)
    for name in recurrence.recorded:
        expected = log10_norms(exact.adjoints[name].total)
        actual = log10_norms(single.adjoints[name].total)
        below = expected < 30
        assert bool((expected[below] > 25).any()), f"the network does not explode: {expected.max()}"
        assert bool(((actual - expected).abs()[below] <= size.time * STEP_ERROR / math.log(10)).all())
