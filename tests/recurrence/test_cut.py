"""A sequence cut anywhere and continued from the returned state is the same sequence, to 1e-12 in float64."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.problems import RECURRENCES, Sizes, assert_near, every_state_loss, make_problem, run_engine, sizes

from rnnstudy.recurrence.base import AdjointRecorder, Recurrence

members = pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)


def check_cut(recurrence: Recurrence, size: Sizes, cuts: list[int]) -> None:
    """Compare the pieces between the cuts, run one after the other, with the whole."""
    problem = make_problem(recurrence, size)
    whole = run_engine(recurrence, problem)
    state, pieces, recorders = problem.state, [], []
    edges = sorted({0, size.time, *cuts})
    for start, stop in itertools.pairwise(edges):
        recorders.append(AdjointRecorder())
        pieces.append(recurrence.unroll(problem.inputs[start:stop], state, problem.weights, recorder=recorders[-1]))
        state = tuple(s[-1] for s in pieces[-1])
    states = tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))
    leaves = problem.leaves()
    gradients = torch.autograd.grad(every_state_loss(states), list(leaves.values()))

    for actual, expected in zip(states, whole.states, strict=True):
        assert_near(actual.detach(), expected, "state", rtol=1e-12)
    for name, gradient in zip(leaves, gradients, strict=True):
        assert_near(gradient, whole.gradients[name], f"gradient of {name}", rtol=1e-12)
    for name in recurrence.recorded:
        total = torch.cat([recorder.adjoints[name].total for recorder in recorders])
        assert_near(total, whole.adjoints[name].total, f"total of {name}", rtol=1e-12)


@members
@given(size=sizes(), data=st.data())
@settings(max_examples=15)
def test_cut_anywhere(recurrence: Recurrence, size: Sizes, data: st.DataObject) -> None:
    """Any set of cuts; the totals of the pieces, one after the other, are those of the whole."""
    check_cut(recurrence, size, data.draw(st.lists(st.integers(1, size.time), max_size=3)))


@members
def test_cut_at_every_step(recurrence: Recurrence) -> None:
    """One unroll for each time step."""
    check_cut(recurrence, Sizes(time=6), list(range(6)))
