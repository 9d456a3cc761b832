"""States, adjoints and gradients against the plain loop under ordinary autograd, float64, relative error 1e-10."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.problems import (
    RECURRENCES,
    Sizes,
    assert_same,
    losses,
    make_problem,
    run_engine,
    run_reference,
    sizes,
)

from rnnstudy.recurrence import scan
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.residual import ResidualRecurrence
from rnnstudy.recurrence.skip import SkipRecurrence

members = pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)


@members
@given(size=sizes(), loss_name=st.sampled_from(sorted(losses())))
@settings(max_examples=25)
def test_any_size(recurrence: Recurrence, size: Sizes, loss_name: str) -> None:
    """Everything equals the plain loop, whatever the sizes and wherever the loss is."""
    problem = make_problem(recurrence, size)
    loss = losses(size.seed)[loss_name]
    assert_same(run_engine(recurrence, problem, loss), run_reference(recurrence, problem, loss))


@members
def test_every_loss(recurrence: Recurrence) -> None:
    """No loss is left to the draw."""
    problem = make_problem(recurrence, Sizes())
    for loss in losses().values():
        assert_same(run_engine(recurrence, problem, loss), run_reference(recurrence, problem, loss))


OTHER_NUMBERS = [
    *(ResidualRecurrence(variant="leaky", rate=rate) for rate in (0.05, 1.0)),
    *(ResidualRecurrence(variant="residual", rate=rate) for rate in (0.05, 1.7)),
    *(SkipRecurrence(skip=skip) for skip in (2, 4, 7, 8)),
]


@pytest.mark.parametrize("recurrence", OTHER_NUMBERS, ids=repr)
@given(size=sizes(), loss_name=st.sampled_from(sorted(losses())), chunk_elements=st.integers(1, 400))
@settings(max_examples=15)
def test_other_numbers(recurrence: Recurrence, size: Sizes, loss_name: str, chunk_elements: int) -> None:
    """Parameters that are numbers, other than by default; skips as long as the sequence too, and longer."""
    problem = make_problem(recurrence, size)
    loss = losses(size.seed)[loss_name]
    with mock.patch.object(scan, "CHUNK_ELEMENTS", chunk_elements):
        outcome = run_engine(recurrence, problem, loss)
    assert_same(outcome, run_reference(recurrence, problem, loss))


@members
def test_smallest_problem(recurrence: Recurrence) -> None:
    """One time step, replica, sequence, input and unit."""
    problem = make_problem(recurrence, Sizes(time=1, replica=1, batch=1, input=1, hidden=1))
    assert_same(run_engine(recurrence, problem), run_reference(recurrence, problem))


@members
@given(size=sizes(max_time=8), chunk_elements=st.integers(1, 400))
@settings(max_examples=15)
def test_any_chunk_length(recurrence: Recurrence, size: Sizes, chunk_elements: int) -> None:
    """Where the backward scan gathers its steps does not show, also when the last run is a short one."""
    problem = make_problem(recurrence, size)
    with mock.patch.object(scan, "CHUNK_ELEMENTS", chunk_elements):
        outcome = run_engine(recurrence, problem)
    assert_same(outcome, run_reference(recurrence, problem))


@members
@pytest.mark.parametrize("recorded", [True, False])
def test_chunks_around_the_sequence_length(recurrence: Recurrence, recorded: bool) -> None:
    """Chunks of one step, that do and do not divide 11 steps, of all of them, and longer; with and without recorder."""
    problem = make_problem(recurrence, Sizes(time=11, replica=2, batch=2, input=3, hidden=3))
    expected = run_engine(recurrence, problem, recorded=recorded)
    for chunk_elements in (1, 24, 40, 60, 100, 170, 300, 600, 10_000):
        with mock.patch.object(scan, "CHUNK_ELEMENTS", chunk_elements):
            actual = run_engine(recurrence, problem, recorded=recorded)
        assert_same(actual, expected, rtol=1e-12)


@members
def test_sequence_longer_than_one_chunk(recurrence: Recurrence) -> None:
    """The shipped chunk length, crossed at least twice and not a divisor of the length."""
    size = Sizes(time=137, replica=2, batch=16, input=2, hidden=128 // recurrence.gates, gain=0.8)
    step_elements = size.replica * size.batch * size.hidden * recurrence.gates
    assert size.time * step_elements > 2 * scan.CHUNK_ELEMENTS
    problem = make_problem(recurrence, size)
    outcome, reference = run_engine(recurrence, problem), run_reference(recurrence, problem)
    assert_same(outcome, reference)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in outcome.tensors().values())
