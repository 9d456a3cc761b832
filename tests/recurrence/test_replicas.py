"""Replicas are independent networks: alone or stacked the same to 1e-12 in float64, and no NaN crosses over."""

import math

import pytest
import torch
from hypothesis import given, settings
from reference.problems import (
    RECURRENCES,
    Outcome,
    Problem,
    Sizes,
    assert_near,
    coefficients_like,
    make_problem,
    run_engine,
    run_reference,
    sizes,
    weighted,
)
from torch import Tensor

from rnnstudy.recurrence.base import Recurrence, States

members = pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
TIME_FIRST = ("inputs", "state ", "total", "direct", "carried")


def run_replicas(recurrence: Recurrence, problem: Problem, start: int, stop: int, total: int) -> Outcome:
    """Replicas start..stop-1 of `problem`, with their share of the loss of all `total`."""

    def loss(states: States) -> Tensor:
        shape = (states[0].shape[0], total, *states[0].shape[2:])
        whole = coefficients_like(tuple(s.new_empty(shape) for s in states), 4)
        return weighted(states, tuple(k[:, start:stop] for k in whole))

    return run_engine(recurrence, problem.replicas(start, stop), loss)


def assert_replica(stacked: Outcome, replica: int, alone: Outcome, *, exactly: bool = False) -> None:
    """One replica of a stack equals the one replica of another run."""
    left, right = stacked.tensors(), alone.tensors()
    for name in left:
        axis = 1 if name.endswith("inputs") or name.startswith(TIME_FIRST) else 0
        actual = left[name].narrow(axis, replica, 1)
        expected = right[name].narrow(axis, min(replica, right[name].shape[axis] - 1), 1)
        assert bool(torch.isfinite(actual).all()), f"{name} of replica {replica} is not finite"
        if exactly:
            assert torch.equal(actual, expected), name
        else:
            assert_near(actual, expected, name, rtol=1e-12)


@members
@given(size=sizes(max_replica=4))
@settings(max_examples=15)
def test_alone_and_stacked(recurrence: Recurrence, size: Sizes) -> None:
    """How many replicas run together does not show."""
    problem = make_problem(recurrence, size)
    stacked = run_replicas(recurrence, problem, 0, size.replica, size.replica)
    for replica in range(size.replica):
        alone = run_replicas(recurrence, problem, replica, replica + 1, size.replica)
        assert_replica(stacked, replica, alone)


def poisoned(problem: Problem, place: str, replica: int, value: float) -> Problem:
    """The problem with `value` in one place of one replica."""
    spoiled = problem.map(torch.clone)
    target = spoiled.leaves()[place].data
    part = target[:, replica] if place == "inputs" else target[replica]
    part[(0,) * part.dim()] = value
    return spoiled


MEMBER_PLACES = [
    (recurrence, place) for recurrence in RECURRENCES for place in make_problem(recurrence, Sizes()).leaves()
]


@pytest.mark.parametrize(("recurrence", "place"), MEMBER_PLACES, ids=str)
def test_no_nan_crosses_over(recurrence: Recurrence, place: str) -> None:
    """The neighbours of a broken replica are bit for bit what they are beside a healthy one."""
    problem = make_problem(recurrence, Sizes(replica=3))
    healthy = run_engine(recurrence, problem)
    for value in (math.nan, math.inf, -math.inf):
        beside = run_engine(recurrence, poisoned(problem, place, 1, value))
        for replica in (0, 2):
            assert_replica(beside, replica, healthy, exactly=True)


@members
def test_broken_loss_stays_in_its_replica(recurrence: Recurrence) -> None:
    """A NaN that arrives from the loss of one replica goes where it goes in the plain loop, to no other replica.

    It does not reach everything: the derivative of a relu is a choice, not a product, and stops it.
    """
    problem = make_problem(recurrence, Sizes(replica=3))

    def loss(states: States, broken: float = math.nan) -> Tensor:
        coefficients = coefficients_like(states, 4)
        coefficients[0][-1, 1] = broken
        return weighted(states, coefficients)

    outcome = run_engine(recurrence, problem, loss)
    healthy = run_engine(recurrence, problem, lambda states: loss(states, 1.0))
    for replica in (0, 2):
        assert_replica(outcome, replica, healthy, exactly=True)
    reference = run_reference(recurrence, problem, loss)
    for name, adjoint in reference.adjoints.items():
        assert torch.equal(outcome.adjoints[name].total.isnan(), adjoint.total.isnan()), name
    assert bool(outcome.adjoints["h"].total[-1, 1].isnan().all())
