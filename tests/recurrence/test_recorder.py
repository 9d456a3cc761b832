"""The recorder sees and changes nothing."""

from unittest import mock

import pytest
import torch
from reference.problems import RECURRENCES, Sizes, assert_identical, losses, make_problem, run_engine

from rnnstudy.recurrence import scan
from rnnstudy.recurrence.base import AdjointRecorder, Recurrence

members = pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@members
@dtypes
@pytest.mark.parametrize("size", [Sizes(), Sizes(time=60, batch=5, hidden=17, gain=0.8), Sizes(time=1)], ids=str)
def test_on_and_off_are_bit_identical(recurrence: Recurrence, dtype: torch.dtype, size: Sizes) -> None:
    """States and gradients do not know whether there is a recorder, within one chunk and over several."""
    problem = make_problem(recurrence, size, dtype)
    for loss in losses().values():
        with mock.patch.object(scan, "CHUNK_ELEMENTS", 4000):
            on, off = (run_engine(recurrence, problem, loss, recorded=recorded) for recorded in (True, False))
        assert on.adjoints
        assert not off.adjoints
        assert_identical(on, off)


@members
@dtypes
def test_what_is_recorded(recurrence: Recurrence, dtype: torch.dtype) -> None:
    """One adjoint a state to record, `total` the sum of its parts, nothing carried to the last time step."""
    size = Sizes()
    problem = make_problem(recurrence, size, dtype)
    recorder = AdjointRecorder()
    states = recurrence.unroll(problem.inputs, problem.state, problem.weights, recorder=recorder)
    assert recorder.adjoints == {}
    losses()["every state at all steps"](states).backward()

    assert tuple(sorted(recorder.adjoints)) == tuple(sorted(recurrence.recorded))
    for adjoint in recorder.adjoints.values():
        for part in (adjoint.total, adjoint.direct, adjoint.carried):
            assert part.shape == (size.time, size.replica, size.batch, problem.state[0].shape[-1])
            assert part.dtype == dtype
            assert not part.requires_grad
        assert torch.equal(adjoint.total, adjoint.direct + adjoint.carried)
        assert torch.equal(adjoint.carried[-1], torch.zeros_like(adjoint.carried[-1]))


@members
def test_direct_part_of_the_output_is_what_the_loss_sent(recurrence: Recurrence) -> None:
    """Bit for bit the derivative of the loss with respect to the layer's output."""
    problem = make_problem(recurrence, Sizes())
    recorder = AdjointRecorder()
    states = recurrence.unroll(problem.inputs, problem.state, problem.weights, recorder=recorder)
    sent = torch.randn(states[0].shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    kept = sent.clone()
    states[0].backward(sent)
    assert torch.equal(recorder.adjoints["h"].direct, kept)
    assert torch.equal(sent, kept), "backward changed the gradient it was given"


@members
def test_loss_at_the_end_is_carried_everywhere_else(recurrence: Recurrence) -> None:
    """The mistake this project exists to end: the direct part is zero there, the total is not."""
    outcome = run_engine(recurrence, make_problem(recurrence, Sizes()), losses()["output at the last step"])
    adjoint = outcome.adjoints["h"]
    assert torch.equal(adjoint.direct[:-1], torch.zeros_like(adjoint.direct[:-1]))
    assert bool((adjoint.total[:-1].flatten(1).norm(dim=1) > 0).all())
    assert torch.equal(adjoint.total[:-1], adjoint.carried[:-1])


@members
def test_record_outlives_another_backward(recurrence: Recurrence) -> None:
    """What was recorded is a copy: later passes and in-place use of gradients leave it as it was."""
    problem = make_problem(recurrence, Sizes())
    recorder = AdjointRecorder()
    states = recurrence.unroll(problem.inputs, problem.state, problem.weights, recorder=recorder)
    for state in states:
        state.retain_grad()
    loss = losses()["every state at all steps"](states)
    loss.backward(retain_graph=True)
    first = dict(recorder.adjoints)
    kept = {name: (a.direct.clone(), a.carried.clone()) for name, a in first.items()}

    loss.backward()
    for tensor in (*states, *problem.leaves().values()):
        assert tensor.grad is not None
        tensor.grad.mul_(7)
    for name, (direct, carried) in kept.items():
        assert torch.equal(first[name].direct, direct), name
        assert torch.equal(first[name].carried, carried), name
        assert torch.equal(recorder.adjoints[name].direct, direct), name
        assert torch.equal(recorder.adjoints[name].carried, carried), name
