"""The output read at some time steps is the states there, and its gradient is the gradient of those states."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.problems import RECURRENCES, Problem, Sizes, assert_near, coefficients_like, make_problem, sizes
from torch import Tensor

from rnnstudy.recurrence.base import AdjointRecorder, Direct, Recurrence, ScanOptions

members = pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)


def gradients(
    recurrence: Recurrence, problem: Problem, steps: list[int], *, by_reading: bool, and_states: bool
) -> tuple[list[Tensor], AdjointRecorder]:
    """Of a random weighting of the output at `steps`, and of all states besides."""
    recorder = AdjointRecorder()
    options = ScanOptions(read_steps=steps if by_reading else (), recorder=recorder)
    states, read = recurrence.scan(problem.inputs, problem.state, problem.weights, options)
    values = read if by_reading else states[0][steps]
    assert torch.equal(values, states[0][steps])
    (coefficients,) = coefficients_like((values,), 3)
    loss = (values * coefficients).sum()
    if and_states:
        loss = loss + torch.stack([s.square().sum() for s in states]).sum()
    return list(torch.autograd.grad(loss, list(problem.leaves().values()))), recorder


@members
@given(size=sizes(), data=st.data(), and_states=st.booleans())
@settings(max_examples=15)
def test_reading_is_slicing(recurrence: Recurrence, size: Sizes, data: st.DataObject, and_states: bool) -> None:
    """Any steps, in any order, some twice; alone and together with a loss on all states."""
    steps = data.draw(st.lists(st.integers(0, size.time - 1), min_size=1, max_size=6))
    problem = make_problem(recurrence, size)
    read, recorded = gradients(recurrence, problem, steps, by_reading=True, and_states=and_states)
    sliced, expected = gradients(recurrence, problem, steps, by_reading=False, and_states=and_states)
    for name, left, right in zip(problem.leaves(), read, sliced, strict=True):
        assert_near(left, right, name, rtol=1e-12)
    for state in recurrence.recorded:
        for part in ("direct", "carried", "total"):
            left, right = (getattr(r.adjoints[state], part) for r in (recorded, expected))
            assert_near(left, right, f"{part} of {state}", rtol=1e-12)


@members
def test_nothing_to_read(recurrence: Recurrence) -> None:
    """An empty read has the right shape."""
    size = Sizes()
    problem = make_problem(recurrence, size)
    _, read = recurrence.scan(problem.inputs, problem.state, problem.weights, ScanOptions())
    assert read.shape == (0, size.replica, size.batch, problem.state[0].shape[-1])


@members
def test_second_derivatives_through_a_read_raise(recurrence: Recurrence) -> None:
    """As through the states."""
    problem = make_problem(recurrence, Sizes())
    _, read = recurrence.scan(problem.inputs, problem.state, problem.weights, ScanOptions(read_steps=[6]))
    with pytest.raises(RuntimeError, match="twice"):
        torch.autograd.grad(read.sum(), [problem.inputs], create_graph=True)


@members
def test_total_is_direct_plus_carried_where_little_was_read(recurrence: Recurrence) -> None:
    """Zero directly but at the steps that were read."""
    problem = make_problem(recurrence, Sizes())
    _, recorder = gradients(recurrence, problem, [2, 5], by_reading=True, and_states=False)
    adjoint = recorder.adjoints["h"]
    assert [step for step in range(7) if adjoint.direct[step].any()] == [2, 5]
    assert torch.equal(adjoint.total, adjoint.direct + adjoint.carried)


def test_direct_sums_what_arrives_everywhere_and_at_some_steps() -> None:
    everywhere, values = torch.ones(4, 1, 1, 2), torch.full((3, 1, 1, 2), 10.0)
    both = Direct(everywhere, [1, 1, 3], values)
    nothing = torch.zeros_like(everywhere)
    assert both.added_to(nothing)[:, 0, 0, 0].tolist() == [1, 21, 1, 11]
    assert bool((everywhere == 1).all())
    some = Direct(None, [1, 1, 3], values)
    assert some.added_to(nothing)[:, 0, 0, 0].tolist() == [0, 20, 0, 10]
    assert [view is None for view in some.views(range(4))] == [True, False, True, False]
    assert not Direct(None).added_to(nothing).any()
