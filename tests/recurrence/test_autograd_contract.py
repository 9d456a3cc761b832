"""What autograd promises of any differentiable function holds for the hand-derived scan too."""

import math
from collections.abc import Sequence

import pytest
import torch
from reference.problems import (
    RECURRENCES,
    Problem,
    Sizes,
    assert_identical,
    assert_near,
    every_state_loss,
    losses,
    make_problem,
    run_engine,
)
from torch import Tensor

from rnnstudy.recurrence.base import Recurrence, States

members = pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
MEMBER_PLACES = [
    (recurrence, place)
    for recurrence in RECURRENCES
    for place in ("output", *make_problem(recurrence, Sizes()).leaves())
]


def from_leaves(recurrence: Recurrence, inputs: Tensor, *others: Tensor) -> States:
    """Unroll from the tensors in the order of `Problem.leaves`."""
    count = len(recurrence.states)
    names = recurrence.shapes(inputs.shape[-1], others[0].shape[-1])
    return recurrence.unroll(inputs, others[:count], dict(zip(names, others[count:], strict=True)))


@pytest.mark.slow
@members
@pytest.mark.parametrize("size", [Sizes(time=3, batch=2, hidden=2), Sizes(time=1, hidden=1)], ids=str)
def test_gradcheck(recurrence: Recurrence, size: Sizes) -> None:
    """Torch's own finite differences in a random direction, with undefined and with random upstream gradients."""
    leaves = tuple(make_problem(recurrence, size).leaves().values())
    assert torch.autograd.gradcheck(lambda *tensors: from_leaves(recurrence, *tensors), leaves)


@members
@dtypes
def test_no_grad_gives_the_same_states(recurrence: Recurrence, dtype: torch.dtype) -> None:
    """Bit for bit, whether by no_grad, by inference mode or because nothing wants a gradient."""
    problem = make_problem(recurrence, Sizes(time=40, batch=8, hidden=24), dtype)
    expected = recurrence.unroll(problem.inputs, problem.state, problem.weights)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            actual = recurrence.unroll(problem.inputs, problem.state, problem.weights)
        for left, right in zip(actual, expected, strict=True):
            assert not left.requires_grad
            assert torch.equal(left, right)
    plain = from_leaves(recurrence, *(leaf.detach() for leaf in problem.leaves().values()))
    for left, right in zip(plain, expected, strict=True):
        assert not left.requires_grad
        assert torch.equal(left, right)


@members
@pytest.mark.parametrize("loss_name", ["curved", "linear"])
def test_second_derivatives_raise(recurrence: Recurrence, loss_name: str) -> None:
    """A penalty on a gradient is an error, not a number without its part."""
    problem = make_problem(recurrence, Sizes())
    states = recurrence.unroll(problem.inputs, problem.state, problem.weights)
    loss = every_state_loss(tuple(s.square() for s in states) if loss_name == "curved" else states)

    def penalise() -> None:
        (gradient,) = torch.autograd.grad(loss, [problem.inputs], create_graph=True)
        (loss + gradient.square().sum()).backward()

    with pytest.raises(RuntimeError, match=r"twice|second derivative"):
        penalise()


@members
def test_backward_twice(recurrence: Recurrence) -> None:
    """With retain_graph the second pass finds all as the first did; without, autograd refuses."""
    problem = make_problem(recurrence, Sizes())
    leaves = list(problem.leaves().values())
    states = recurrence.unroll(problem.inputs, problem.state, problem.weights)
    loss = every_state_loss(states)
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    kept = [gradient.clone() for gradient in first]
    other = torch.autograd.grad(losses(9)["output at all steps"](states), leaves, retain_graph=True)
    second = torch.autograd.grad(loss, leaves)
    for before, now, again, different in zip(kept, first, second, other, strict=True):
        assert torch.equal(before, now), "a later pass changed gradients already handed out"
        assert torch.equal(before, again)
        assert not torch.equal(before, different)
    with pytest.raises(RuntimeError, match="a second time"):
        torch.autograd.grad(loss, leaves)


@members
def test_gradients_share_no_memory(recurrence: Recurrence) -> None:
    """Overwriting one that was handed out changes no other."""
    problem = make_problem(recurrence, Sizes())
    states = recurrence.unroll(problem.inputs, problem.state, problem.weights)
    gradients = torch.autograd.grad(every_state_loss(states), list(problem.leaves().values()))
    for number, gradient in enumerate(gradients):
        kept = gradient.clone()
        gradient.fill_(math.nan)
        assert not any(bool(other.isnan().any()) for place, other in enumerate(gradients) if place != number)
        gradient.copy_(kept)


@members
def test_gradients_add_up(recurrence: Recurrence) -> None:
    """Two passes for two losses give the gradient of their sum."""
    problem = make_problem(recurrence, Sizes())
    leaves = list(problem.leaves().values())
    states = recurrence.unroll(problem.inputs, problem.state, problem.weights)
    first, second = every_state_loss(states), losses(9)["output at the last step"](states)
    together = torch.autograd.grad(first + second, leaves, retain_graph=True)
    first.backward(retain_graph=True)
    second.backward()
    for leaf, expected in zip(leaves, together, strict=True):
        assert leaf.grad is not None
        assert_near(leaf.grad, expected, "sum", rtol=1e-12)


@members
def test_some_of_the_leaves(recurrence: Recurrence) -> None:
    """One alone, or all but one: those that want no gradient get none, the others the bits that they always get."""
    problem = make_problem(recurrence, Sizes(time=4, hidden=3))
    leaves = problem.leaves()
    expected = run_engine(recurrence, problem).gradients
    alone = [tuple(place == other for other in leaves) for place in leaves]
    for wanted in (*alone, *(tuple(not each for each in one) for one in alone)):
        copies = [
            leaf.detach().clone().requires_grad_(want) for leaf, want in zip(leaves.values(), wanted, strict=True)
        ]
        every_state_loss(from_leaves(recurrence, *copies)).backward()
        for name, copy, want in zip(leaves, copies, wanted, strict=True):
            assert (copy.grad is not None) == want, name
            if copy.grad is not None:
                assert torch.equal(copy.grad, expected[name]), f"{name} with {wanted}"


@members
def test_odd_strides(recurrence: Recurrence) -> None:
    """Transposed, expanded and sliced tensors are as good as contiguous ones, upstream gradients too."""
    size = Sizes(batch=3)
    dense = make_problem(recurrence, size).map(lambda tensor: tensor[:1].expand_as(tensor).clone())
    dense = Problem(inputs=make_problem(recurrence, size).inputs, state=dense.state, weights=dense.weights)
    leaves = dense.leaves()
    states = from_leaves(recurrence, *leaves.values())
    expected = torch.autograd.grad(states[0].sum(), list(leaves.values()))

    batch_first = leaves["inputs"].detach().permute(2, 1, 0, 3).contiguous().requires_grad_()
    padded = torch.nn.functional.pad(batch_first, (1, 1))[..., 1:-1].permute(2, 1, 0, 3)
    shared = [leaf.detach()[:1].clone().requires_grad_() for leaf in list(leaves.values())[1:]]
    odd = from_leaves(recurrence, padded, *(one.expand(size.replica, *one.shape[1:]) for one in shared))
    actual = torch.autograd.grad(odd[0].sum(), [batch_first, *shared])

    for left, right in zip(odd, states, strict=True):
        assert_near(left, right, "state", rtol=1e-12)
    assert_near(actual[0].permute(2, 1, 0, 3), expected[0], "inputs", rtol=1e-12)
    for left, right in zip(actual[1:], expected[1:], strict=True):
        assert_near(left, right.sum(0, keepdim=True), "shared leaf", rtol=1e-12)


@members
def test_arguments_are_left_alone(recurrence: Recurrence) -> None:
    """Neither pass writes into inputs, states or weights."""
    problem = make_problem(recurrence, Sizes())
    before = {name: leaf.detach().clone() for name, leaf in problem.leaves().items()}
    run_engine(recurrence, problem)
    for name, leaf in problem.leaves().items():
        assert torch.equal(leaf, before[name]), name


@pytest.mark.parametrize(("recurrence", "place"), MEMBER_PLACES, ids=str)
def test_overwriting_between_the_passes_is_right_or_an_error(recurrence: Recurrence, place: str) -> None:
    """An in-place change after the forward pass never gives a wrong gradient in silence."""
    problem = make_problem(recurrence, Sizes())
    leaves = list(problem.leaves().values())
    expected = run_engine(recurrence, problem, losses()["output at all steps"])
    states = recurrence.unroll(problem.inputs, problem.state, problem.weights)
    loss = losses()["output at all steps"](states)
    with torch.no_grad():
        (states[0] if place == "output" else problem.leaves()[place]).mul_(-3)
    refused = None
    gradients: Sequence[Tensor] = ()
    try:
        gradients = torch.autograd.grad(loss, leaves)
    except RuntimeError as error:
        refused = str(error)
    if refused is not None:
        assert "modified by an inplace operation" in refused
        return
    for gradient, right in zip(gradients, expected.gradients.values(), strict=True):
        assert torch.equal(gradient, right)


@members
def test_same_call_same_bits(recurrence: Recurrence) -> None:
    """Nothing is left over in buffers from one call to the next."""
    problem = make_problem(recurrence, Sizes())
    first = run_engine(recurrence, problem)
    run_engine(recurrence, problem.map(lambda tensor: tensor * 100))
    assert_identical(run_engine(recurrence, problem), first)


@members
@dtypes
def test_zero_state(recurrence: Recurrence, dtype: torch.dtype) -> None:
    """All-zero states of the inputs' dtype, one for each name."""
    size = Sizes()
    state = recurrence.zero_state(make_problem(recurrence, size, dtype).inputs, 5)
    assert len(state) == len(recurrence.states)
    for tensor in state:
        assert torch.equal(tensor, torch.zeros(size.replica, size.batch, 5, dtype=dtype))
