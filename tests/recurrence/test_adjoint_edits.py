"""Adjoint edits against twins that use detach and hooks in the plain loop, float64, relative error 1e-10."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.problems import (
    RECURRENCES,
    Sizes,
    assert_identical,
    assert_same,
    losses,
    make_problem,
    run_engine,
    run_reference,
    sizes,
)
from reference.unrolled import Carry, keep
from torch import Tensor
from typing_extensions import override

from rnnstudy.recurrence.base import AdjointEdit, Recurrence, States

members = pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
EVERY = 3  # time steps
MAX_NORM = 0.7
MAX_VALUE = 0.2


class Nothing(AdjointEdit):
    """Leave all as it is."""

    @override
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        del carried, time_step, num_steps


class Truncate(AdjointEdit):
    """Let nothing through after every third time step, nor to the initial state."""

    @override
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        if (time_step + 1) % EVERY == 0:
            for state in carried:
                state.zero_()


def truncated(states: States, time_step: int) -> States:
    """Twin of `Truncate`: detach what is carried."""
    return tuple(state.detach() for state in states) if (time_step + 1) % EVERY == 0 else states


class DetachHidden(AdjointEdit):
    """Stop what goes through h at every other step; other states keep their path."""

    @override
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        if time_step % 2 == 0:
            carried[0].zero_()


def hidden_detached(states: States, time_step: int) -> States:
    """Twin of `DetachHidden`."""
    return (states[0].detach(), *states[1:]) if time_step % 2 == 0 else states


class ClipNorm(AdjointEdit):
    """Scale what is carried so that its norm over all states of one sequence is at most `MAX_NORM`."""

    @override
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        squares = torch.stack([state.square().sum(-1, keepdim=True) for state in carried]).sum(0)
        for state in carried:
            state.mul_((MAX_NORM / squares.sqrt()).clamp(max=1))


def hooked(change: Callable[[Tensor], Tensor]) -> Carry:
    """Change the gradient of (batch, states, hidden), all states side by side, as it goes back."""

    def carry(states: States, time_step: int) -> States:
        del time_step
        together = torch.stack(states, dim=1).clone()
        together.register_hook(change)
        return together.unbind(1)

    return carry


def norm_clipped(gradient: Tensor) -> Tensor:
    """Twin of `ClipNorm`, one sequence at a time."""
    rows = [row if row.norm() <= MAX_NORM else row * (MAX_NORM / row.norm()) for row in gradient]
    return torch.stack(rows)


class ClipValue(AdjointEdit):
    """Clamp every number that is carried."""

    @override
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        for state in carried:
            state.clamp_(-MAX_VALUE, MAX_VALUE)


class ScaleByStep(AdjointEdit):
    """Multiply by a number of its own at every time step, so that an edit off by one step shows."""

    @override
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        for number, state in enumerate(carried):
            state.mul_(1 + 0.1 * (time_step + 2) + 0.05 * number)


def scaled_by_step(states: States, time_step: int) -> States:
    """Twin of `ScaleByStep`: the value stays, the derivative is multiplied."""
    factors = [1 + 0.1 * (time_step + 2) + 0.05 * number for number in range(len(states))]
    return tuple(s.detach() + k * (s - s.detach()) for s, k in zip(states, factors, strict=True))


TWINS: dict[str, tuple[AdjointEdit, Carry]] = {
    "nothing": (Nothing(), keep),
    "truncate": (Truncate(), truncated),
    "detach h": (DetachHidden(), hidden_detached),
    "clip norm": (ClipNorm(), hooked(norm_clipped)),
    "clip value": (ClipValue(), hooked(lambda gradient: gradient.clamp(-MAX_VALUE, MAX_VALUE))),
    "scale by step": (ScaleByStep(), scaled_by_step),
}


@members
@pytest.mark.parametrize("twin", sorted(TWINS))
@given(size=sizes(), loss_name=st.sampled_from(sorted(losses())))
@settings(max_examples=8)
def test_edit_equals_its_twin(recurrence: Recurrence, twin: str, size: Sizes, loss_name: str) -> None:
    """States, edited adjoints and all gradients, the initial states' among them."""
    edit, carry = TWINS[twin]
    problem = make_problem(recurrence, size)
    loss = losses(size.seed)[loss_name]
    assert_same(run_engine(recurrence, problem, loss, edit=edit), run_reference(recurrence, problem, loss, carry))


@members
def test_edit_shows(recurrence: Recurrence) -> None:
    """Every edit used here but one changes the gradients, and none the states."""
    problem = make_problem(recurrence, Sizes(time=9))
    plain = run_engine(recurrence, problem)
    for twin, (edit, _) in TWINS.items():
        edited = run_engine(recurrence, problem, edit=edit)
        same = torch.equal(plain.gradients["weight_ih"], edited.gradients["weight_ih"])
        assert same == (twin == "nothing"), twin
        for before, after in zip(plain.states, edited.states, strict=True):
            assert torch.equal(before, after), twin


@members
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("recorded", [True, False])
def test_edit_that_does_nothing(recurrence: Recurrence, dtype: torch.dtype, recorded: bool) -> None:
    """Off is the baseline bit for bit."""
    problem = make_problem(recurrence, Sizes(), dtype)
    plain = run_engine(recurrence, problem, recorded=recorded)
    assert_identical(run_engine(recurrence, problem, edit=Nothing(), recorded=recorded), plain)


@members
def test_recorder_does_not_change_an_edit(recurrence: Recurrence) -> None:
    """Edited gradients are the same bits with and without a recorder."""
    problem = make_problem(recurrence, Sizes())
    for edit, _ in TWINS.values():
        on, off = (run_engine(recurrence, problem, edit=edit, recorded=recorded) for recorded in (True, False))
        assert_identical(on, off)


@dataclass
class Watch(AdjointEdit):
    """Keep copies of what passes, and where."""

    seen: list[tuple[int, int, States]] = field(default_factory=list)

    @override
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        self.seen.append((time_step, num_steps, tuple(state.clone() for state in carried)))


@members
@pytest.mark.parametrize(("time", "recorded"), [(1, True), (2, False), (6, True), (6, False)])
def test_when_and_with_what_it_is_called(recurrence: Recurrence, time: int, recorded: bool) -> None:
    """Once for each step back, from the last but one to the initial state, with what the recorder calls carried."""
    problem = make_problem(recurrence, Sizes(time=time))
    watch = Watch()
    run_engine(recurrence, problem, edit=watch, recorded=recorded)
    outcome = run_engine(recurrence, problem)

    assert [step for step, _, _ in watch.seen] == list(range(time - 2, -2, -1))
    assert all(num_steps == time for _, num_steps, _ in watch.seen)
    for time_step, _, carried in watch.seen:
        for number, (name, state) in enumerate(zip(recurrence.states, carried, strict=True)):
            if time_step < 0:
                assert torch.equal(state, outcome.gradients[f"initial_{number}"])
            elif name in recurrence.recorded:
                assert torch.equal(state, outcome.adjoints[name].carried[time_step])


@members
def test_error_in_an_edit_reaches_the_caller(recurrence: Recurrence) -> None:
    """It is not swallowed by the backward pass."""

    class Broken(AdjointEdit):
        @override
        def apply(self, carried: States, time_step: int, num_steps: int) -> None:
            raise ValueError(f"broken at {time_step}")

    with pytest.raises(ValueError, match="broken at"):
        run_engine(recurrence, make_problem(recurrence, Sizes()), edit=Broken())
