"""Random sequences, weights and losses of any size, and how close two results must be."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from hypothesis import strategies as st
from reference.discovery import concrete_subclasses, variants
from reference.unrolled import Carry, PlainAdjoint, Unrolled, keep
from torch import Tensor

import rnnstudy.recurrence
from rnnstudy.core.errors import ConfigError
from rnnstudy.recurrence.base import AdjointEdit, AdjointRecorder, Recurrence, States, Weights

RTOL = 1e-10
"""Float64 leaves about six digits of room for the different order of the sums."""

RECURRENCES = [
    recurrence for member in concrete_subclasses(rnnstudy.recurrence, Recurrence) for recurrence in variants(member)
]
"""Every member in all its variants; a new one is covered without an edit here."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The axes of a problem."""

    time: int = 7
    replica: int = 2
    batch: int = 3
    input: int = 2
    hidden: int = 4
    gain: float = 1.0
    """Scale of all weights but the scale-free ones; at 1 the rows of the recurrent weight have about unit norm."""
    seed: int = 0


@st.composite
def sizes(draw: st.DrawFn, *, max_time: int = 9, max_replica: int = 3) -> Sizes:
    """Sizes from the smallest possible on: one time step, replica, sequence, input, unit."""
    return Sizes(
        time=draw(st.integers(1, max_time)),
        replica=draw(st.integers(1, max_replica)),
        batch=draw(st.integers(1, 3)),
        input=draw(st.integers(1, 3)),
        hidden=draw(st.integers(1, 4)),
        gain=draw(st.sampled_from([0.3, 1.0, 2.0])),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A sequence, where it starts, and the weights; all of them leaves that want a gradient."""

    inputs: Tensor
    state: States
    weights: Weights

    def leaves(self) -> dict[str, Tensor]:
        """Everything that can be differentiated, by name."""
        named = {f"initial_{number}": tensor for number, tensor in enumerate(self.state)}
        return {"inputs": self.inputs, **named, **self.weights}

    def map(self, change: Callable[[Tensor], Tensor]) -> "Problem":
        """The problem with every tensor changed, as new leaves."""

        def leaf(tensor: Tensor) -> Tensor:
            return change(tensor.detach()).requires_grad_()

        return Problem(
            inputs=leaf(self.inputs),
            state=tuple(leaf(tensor) for tensor in self.state),
            weights={name: leaf(weight) for name, weight in self.weights.items()},
        )

    def replicas(self, start: int, stop: int) -> "Problem":
        """Replicas start..stop-1 alone."""
        single = self.map(lambda tensor: tensor[start:stop].clone())
        inputs = self.inputs.detach()[:, start:stop].clone().requires_grad_()
        return replace(single, inputs=inputs)


FEWEST_NORMALISED = 8
"""Units of a layer-normalised problem at least: the variance of two or three is often so small that dividing by it
makes rounding hundreds of times larger at every step, in any implementation."""


def fitting(recurrence: Recurrence, size: Sizes) -> Sizes:
    """The size with a unit more where the member cannot have that many, as one that has its units in pairs."""
    if "gain" in recurrence.shapes(2, 2):
        return replace(size, hidden=max(size.hidden, FEWEST_NORMALISED))
    try:
        recurrence.shapes(size.input, size.hidden)
    except ConfigError:
        return replace(size, hidden=size.hidden + 1)
    return size


def scaled(name: str, values: Tensor, gain: float) -> Tensor:
    """Standard normal `values` as a weight of that name, (replica, ...).

    The weights of a layer normalisation and of an LRU say by themselves how large a step is; those here make it about
    as large as a gain of 1 makes it elsewhere: |Lambda| is about 0.7.
    """
    match name:
        case "gain":
            return 1 + 0.5 * values
        case "log_decay":
            return -1 + 0.3 * values
        case "log_phase" | "log_scale":
            return 0.5 * values
    matrix = values.dim() == 3
    return values * gain * (values.shape[-1] ** -0.5 if matrix else 0.5)


def make_problem(recurrence: Recurrence, size: Sizes, dtype: torch.dtype = torch.float64) -> Problem:
    """A random problem of the `fitting` size; the numbers are drawn in float64 whatever the dtype."""
    size = fitting(recurrence, size)
    generator = torch.Generator().manual_seed(size.seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def leaf(values: Tensor) -> Tensor:
        return values.to(dtype).requires_grad_()

    shapes = recurrence.shapes(size.input, size.hidden)
    return Problem(
        inputs=leaf(normal(size.time, size.replica, size.batch, size.input)),
        state=tuple(leaf(0.5 * normal(size.replica, size.batch, size.hidden)) for _ in recurrence.states),
        weights={name: leaf(scaled(name, normal(size.replica, *s), size.gain)) for name, s in shapes.items()},
    )


Loss = Callable[[States], Tensor]
"""A number from every state at every time step."""


def weighted(states: States, coefficients: States) -> Tensor:
    """Sum of coefficient times state."""
    return torch.stack([(s * k).sum() for s, k in zip(states, coefficients, strict=True)]).sum()


def coefficients_like(states: States, seed: int) -> States:
    """Random coefficients of the states' shape and dtype, drawn in float64."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(s.shape, generator=generator, dtype=torch.float64).to(s.dtype) for s in states)


def losses(seed: int = 1) -> dict[str, Loss]:
    """Losses that reach the states in different places; those a loss does not name get no gradient at all."""

    def one_state(number: int, time: slice = slice(None)) -> Loss:
        def loss(states: States) -> Tensor:
            (coefficients,) = coefficients_like((states[number],), seed)
            return (states[number][time] * coefficients[time]).sum()

        return loss

    def every_state(states: States) -> Tensor:
        return weighted(states, coefficients_like(states, seed))

    last = slice(-1, None)
    return {
        "output at the last step": one_state(0, last),
        "output at all steps": one_state(0),
        "every state at all steps": every_state,
        "last state at the last step": one_state(-1, last),
        "last state at all steps": one_state(-1),
        "first step only": one_state(0, slice(0, 1)),
    }


every_state_loss = losses()["every state at all steps"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a forward and a backward pass gave."""

    states: States
    gradients: dict[str, Tensor]
    adjoints: dict[str, PlainAdjoint]

    def tensors(self) -> dict[str, Tensor]:
        """Everything, by name."""
        named = {f"state {number}": state for number, state in enumerate(self.states)}
        named |= {f"gradient of {name}": gradient for name, gradient in self.gradients.items()}
        for name, adjoint in self.adjoints.items():
            named |= {f"{part} of {name}": getattr(adjoint, part) for part in ("total", "direct", "carried")}
        return named


def run_engine(
    recurrence: Recurrence,
    problem: Problem,
    loss: Loss = every_state_loss,
    *,
    recorded: bool = True,
    edit: AdjointEdit | None = None,
) -> Outcome:
    """Forward and backward through the project's engine."""
    recorder = AdjointRecorder() if recorded else None
    states = recurrence.unroll(problem.inputs, problem.state, problem.weights, recorder=recorder, edit=edit)
    leaves = problem.leaves()
    gradients = torch.autograd.grad(loss(states), list(leaves.values()))
    adjoints = recorder.adjoints if recorder else {}
    return Outcome(
        states=tuple(state.detach() for state in states),
        gradients=dict(zip(leaves, gradients, strict=True)),
        adjoints={name: PlainAdjoint(a.total, a.direct, a.carried) for name, a in adjoints.items()},
    )


def run_reference(
    recurrence: Recurrence, problem: Problem, loss: Loss = every_state_loss, carry: Carry = keep
) -> Outcome:
    """Forward and backward through the plain loop."""
    unrolled = Unrolled(recurrence, problem.inputs, problem.state, problem.weights, carry)
    leaves = problem.leaves()
    gradients, adjoints = unrolled.backward(loss(unrolled.states), list(leaves.values()))
    return Outcome(
        states=tuple(state.detach() for state in unrolled.states),
        gradients=dict(zip(leaves, gradients, strict=True)),
        adjoints=adjoints,
    )


def assert_near(actual: Tensor, expected: Tensor, name: str, rtol: float = RTOL, floor: float = 1e-14) -> None:
    """Largest error within `rtol` of the largest value, in every slice of the first axis by itself.

    The first axis is time for states and adjoints: a small adjoint early in a sequence is not measured against a
    large one at its end. `floor`, relative to the whole tensor or to one, is for what is small by cancellation: in a
    saturated unit the slope 1 - h^2 is a few 1e-9 and its rounding a few 1e-16, in any implementation, while weights
    and coefficients of the loss are of size one.
    """
    assert actual.shape == expected.shape, f"{name}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    assert actual.dtype == expected.dtype, f"{name}: {actual.dtype}, expected {expected.dtype}"
    error = (actual - expected).abs().flatten(1).amax(1)
    size = expected.abs().flatten(1).amax(1)
    allowed = rtol * size + floor * size.max().clamp(min=1)
    assert bool((error <= allowed).all()), f"{name}: error {error.tolist()} with values up to {size.tolist()}"


def assert_same(actual: Outcome, expected: Outcome, rtol: float = RTOL) -> None:
    """All states, gradients and adjoints near each other."""
    left, right = actual.tensors(), expected.tensors()
    assert left.keys() == right.keys()
    for name in left:
        assert_near(left[name], right[name], name, rtol)


def assert_identical(actual: Outcome, expected: Outcome) -> None:
    """States and gradients equal bit for bit; adjoints too where both have them."""
    left, right = actual.tensors(), expected.tensors()
    for name in left.keys() & right.keys():
        assert left[name].dtype == right[name].dtype, name
        assert torch.equal(left[name], right[name]), name
