"""The same code on a CUDA device."""

import pytest
import torch
from reference.problems import RECURRENCES, Loss, Sizes, assert_same, losses, make_problem, run_engine
from typing_extensions import override

from rnnstudy.recurrence.base import AdjointEdit, Recurrence, States

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here"),
]
members = pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)


class Halved(AdjointEdit):
    """Carries half of it back."""

    @override
    def apply(self, carried: States, time_step: int, num_steps: int) -> None:
        for part in carried:
            part.mul_(0.5)


@members
@pytest.mark.parametrize("edit", [None, Halved()], ids=["full", "edited"])
def test_cuda_gives_what_the_cpu_gives(recurrence: Recurrence, edit: AdjointEdit | None) -> None:
    """States, gradients and adjoints in float64."""
    for loss in losses().values():
        assert_cuda_gives_what_the_cpu_gives(recurrence, loss, edit)


def assert_cuda_gives_what_the_cpu_gives(recurrence: Recurrence, loss: Loss, edit: AdjointEdit | None) -> None:
    problem = make_problem(recurrence, Sizes(time=40, batch=4, hidden=24))
    expected = run_engine(recurrence, problem, loss, edit=edit)

    def on_device(states: States) -> torch.Tensor:
        return loss(tuple(s.cpu() for s in states))

    outcome = run_engine(recurrence, problem.map(torch.Tensor.cuda), on_device, edit=edit)
    for actual in outcome.tensors().values():
        assert actual.is_cuda
    moved = type(outcome)(
        states=tuple(s.cpu() for s in outcome.states),
        gradients={name: gradient.cpu() for name, gradient in outcome.gradients.items()},
        adjoints={
            name: type(a)(a.total.cpu(), a.direct.cpu(), a.carried.cpu()) for name, a in outcome.adjoints.items()
        },
    )
    assert_same(moved, expected)
