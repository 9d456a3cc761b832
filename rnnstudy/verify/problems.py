"""Random sequences, weights and losses for any cell, and what the engine makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.seeding import make_generator, replica_generators
from rnnstudy.models.base import Model, Network
from rnnstudy.recurrence.base import Adjoint, AdjointEdit, AdjointRecorder, Recurrence, ScanOptions, States, Weights
from rnnstudy.study.run.assemble import interface_of
from rnnstudy.tasks.base import Batch, Task, stack
from rnnstudy.tasks.copy_memory import CopyMemory


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The axes of a problem.

    Args:
        time: Time steps.
        replica: Networks.
        batch: Sequences per network.
        input: Features.
        hidden: Units; even, and not so few that a layer normalisation's variance is near 0.
    """

    time: int
    replica: int = 2
    batch: int
    input: int
    hidden: int


SMALL = Sizes(time=8, batch=4, input=3, hidden=8)
LARGE = Sizes(time=70, batch=64, input=24, hidden=64)
"""So large that the weight gradient is summed in several chunks, and float32 products go the way of large ones."""

TASK = CopyMemory(delay=2, num_symbols=2, alphabet_size=2)
"""For whole networks: cross entropy at every time step."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A cell, a sequence, where it starts, the weights, and a loss.

    Attributes:
        cell: The recurrence.
        inputs: The sequence.
        state: Every state before it, each (replica, batch, hidden).
        weights: By name, the replica axis first.
        coefficients: Of the losses, for every state (time, replica, batch, hidden).
    """

    cell: Recurrence
    inputs: Float[Tensor, "time replica batch input"]
    state: States
    weights: Weights
    coefficients: States

    @property
    def leaves(self) -> dict[str, Tensor]:
        """All that the loss can be differentiated by; inputs and initial states have names of their own."""
        initial = {f"initial {name}": state for name, state in zip(self.cell.states, self.state, strict=True)}
        return {"inputs": self.inputs, **initial, **self.weights}

    def loss(self, states: States) -> Float[Tensor, "replica batch"]:
        """Of every sequence: sum of k (s + s^2 + sin s) over all states s at all time steps, k random coefficients."""
        terms = [k * (s + s.square() + s.sin()) for s, k in zip(states, self.coefficients, strict=True)]
        return torch.stack([term.sum((0, 3)) for term in terms]).sum(0)

    def loss_at_end(self, last: Float[Tensor, "replica batch hidden"]) -> Float[Tensor, "replica batch"]:
        """Of every sequence: sum of k h_T, on the last hidden state alone."""
        return (self.coefficients[0][-1] * last).sum(-1)


def make_problem(
    cell: Recurrence, sizes: Sizes, device: torch.device, dtype: torch.dtype = torch.float64, *, seed: int = 0
) -> Problem:
    """Draw a problem: on the CPU and in float64, so that the numbers are the same on every device.

    Args:
        cell: The recurrence.
        sizes: How large.
        device: Where it is to be.
        dtype: In which precision.
        seed: Of the numbers.

    Returns:
        The problem; all that can be differentiated by wants a gradient.
    """
    generator = make_generator(seed, "verify")

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def moved(values: Tensor) -> Tensor:
        return values.to(device, dtype)

    shapes = cell.shapes(sizes.input, sizes.hidden)
    weights = {name: moved(_sized(name, normal(sizes.replica, *shape))) for name, shape in shapes.items()}
    state = tuple(moved(normal(sizes.replica, sizes.batch, sizes.hidden) / 2) for _ in cell.states)
    inputs = moved(normal(sizes.time, sizes.replica, sizes.batch, sizes.input))
    everywhere = (sizes.time, sizes.replica, sizes.batch, sizes.hidden)
    problem = Problem(
        cell=cell,
        inputs=inputs,
        state=state,
        weights=weights,
        coefficients=tuple(moved(normal(*everywhere)) for _ in cell.states),
    )
    for leaf in problem.leaves.values():
        leaf.requires_grad_()
    return problem


def _sized(name: str, values: Tensor) -> Tensor:
    """Standard normal `values` (replica, ...) as a weight: a matrix keeps the size of what it multiplies."""
    if name == "gain":
        return 1 + values / 2
    return values / (values.shape[-1] ** 0.5 if values.dim() == 3 else 2)


@dataclass(frozen=True, kw_only=True)
class Solved:
    """What a forward and a backward pass gave.

    Attributes:
        states: Every state at every time step.
        adjoints: By state name, of those that the engine records.
        gradients: By name, of everything in `Problem.leaves`.
    """

    states: States
    adjoints: dict[str, Adjoint]
    gradients: dict[str, Tensor]


def solve(problem: Problem, *, at_end: bool = False, edit: AdjointEdit | None = None) -> Solved:
    """Run the engine forwards and backwards.

    Args:
        problem: With a loss.
        at_end: Whether the loss is `loss_at_end`, read as a network reads it, or `loss`.
        edit: Applied to the carried adjoints.

    Returns:
        States, adjoints and gradients.
    """
    recorder = AdjointRecorder()
    last = len(problem.inputs) - 1
    options = ScanOptions(read_steps=[last] if at_end else (), recorder=recorder, edit=edit)
    states, read = problem.cell.scan(problem.inputs, problem.state, problem.weights, options)
    loss = problem.loss_at_end(read[0]) if at_end else problem.loss(states)
    leaves = problem.leaves
    gradients = torch.autograd.grad(loss.sum(), list(leaves.values()))
    return Solved(
        states=tuple(state.detach() for state in states),
        adjoints=recorder.adjoints,
        gradients=dict(zip(leaves, gradients, strict=True)),
    )


@dataclass(frozen=True, kw_only=True)
class AnyCell(Model):
    """Layers of a cell, a linear readout, and nothing that a model adds.

    Args:
        cell: The cell.
    """

    cell: Recurrence

    @override
    def recurrence(self) -> Recurrence:
        return self.cell


def make_network(model: Model, task: Task, device: torch.device, replicas: int = 2) -> Network:
    """A network for a task, in float64."""
    return model.build(interface_of(task), replica_generators(0, replicas, "verify network"), torch.float64).to(device)


def make_batch(task: Task, device: torch.device, *, batch_size: int = 4, replicas: int = 2) -> Batch:
    """Sequences of a task."""
    generators: Sequence[torch.Generator] = replica_generators(0, replicas, "verify batch")
    return stack([task.sample(batch_size, generator) for generator in generators]).to(device)
