"""Sizes at which float32 goes another way: large products, several chunks and runs, memory that is used again."""

from dataclasses import replace

import pytest
import torch
from reference.problems import RECURRENCES, Problem, Sizes, assert_near, make_problem, run_engine

from rnnstudy.core import products
from rnnstudy.recurrence import scan
from rnnstudy.recurrence.base import Recurrence

members = pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
LARGE = Sizes(time=40, replica=2, batch=32, input=8, hidden=128, gain=0.5)
"""A step's product is done by oneDNN where there are gates, the weight gradient's everywhere."""


def away_from_kinks(problem: Problem) -> Problem:
    """Of so many units one would be within rounding of the kink; positive weights keep all of them on one side.

    A layer normalisation takes their mean away before its small gains, so its biases have to do it.
    """
    positive = problem.map(lambda tensor: tensor.abs() / 16)
    if "gain" not in positive.weights:
        return positive
    ones = {name: torch.ones_like(positive.weights[name]) for name in ("bias_ih", "bias_hh")}
    return replace(positive, weights={**positive.weights, **ones}).map(torch.clone)


@members
def test_float32_against_float64(recurrence: Recurrence) -> None:
    """The bound of the small sizes: the rounding of one step, for each of the steps forward and back."""
    rows = recurrence.gates * LARGE.hidden
    assert scan.CHUNK_ELEMENTS * LARGE.input >= products.MANY
    assert LARGE.batch * rows * LARGE.time > scan.CHUNK_ELEMENTS, "one chunk only"
    problem = make_problem(recurrence, LARGE)
    if getattr(recurrence, "nonlinearity", None) in {"relu", "modrelu"}:
        problem = away_from_kinks(problem)
    exact, single = run_engine(recurrence, problem), run_engine(recurrence, problem.map(lambda t: t.float()))
    left, right = single.tensors(), exact.tensors()
    step_error = (LARGE.input + LARGE.hidden + 2) * torch.finfo(torch.float32).eps
    for name in left:
        assert_near(left[name].double(), right[name], name, rtol=2 * LARGE.time * step_error, floor=0)


@members
def test_alone_and_stacked_bit_for_bit(recurrence: Recurrence) -> None:
    """Chunks, products and everything else depend on the sizes of one replica."""
    problem = make_problem(recurrence, LARGE, torch.float32)
    stacked = run_engine(recurrence, problem, lambda states: states[0][-1].sum())
    for replica in range(LARGE.replica):
        alone = run_engine(recurrence, problem.replicas(replica, replica + 1), lambda states: states[0][-1].sum())
        for name, gradient in alone.gradients.items():
            axis = 1 if name == "inputs" else 0
            assert torch.equal(gradient, stacked.gradients[name].narrow(axis, replica, 1)), name
        for name, adjoint in alone.adjoints.items():
            assert torch.equal(adjoint.total[:, 0], stacked.adjoints[name].total[:, replica]), name


@members
def test_what_one_pass_gave_stays_as_it_is_while_others_run(recurrence: Recurrence) -> None:
    """States, gradients and adjoints that are still held are not written over."""
    problem = make_problem(recurrence, LARGE, torch.float32)
    first = run_engine(recurrence, problem)
    kept = {name: tensor.clone() for name, tensor in first.tensors().items()}
    other = make_problem(recurrence, Sizes(**{**vars(LARGE), "seed": 1}), torch.float32)
    for _ in range(3):
        run_engine(recurrence, other)
    for name, tensor in first.tensors().items():
        assert torch.equal(tensor, kept[name]), name
