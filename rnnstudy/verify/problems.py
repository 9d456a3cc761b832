"""Random sequences, weights and losses for any cell, and the engine's results on them."""

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
    """Axes of a problem.

    Args:
        time: Time steps.
        replica: Networks.
        batch: Sequences per network.
        input: Features.
        hidden: Units; even, and enough that a layer normalisation's variance is not near 0.
    """

    time: int
    replica: int = 2
    batch: int
    input: int
    hidden: int


SMALL = Sizes(time=8, batch=4, input=3, hidden=8)
LARGE = Sizes(time=70, batch=64, input=24, hidden=64)
"""So large that the weight gradient is summed in several chunks, and float32 products use the kernels of large ones."""

TASK = CopyMemory(delay=2, num_symbols=2, alphabet_size=2)
"""Task for whole networks, with cross entropy at every time step."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A cell, a sequence, its initial state, the weights, and a loss.

    Attributes:
        cell: Recurrence.
        inputs: Sequence.
        state: Every initial state, each (replica, batch, hidden).
        weights: Weights by name, the replica axis first.
        coefficients: Coefficients k of the losses, for every state (time, replica, batch, hidden).
    """

    cell: Recurrence
    inputs: Float[Tensor, "time replica batch input"]
    state: States
    weights: Weights
    coefficients: States

    @property
    def leaves(self) -> dict[str, Tensor]:
        """Tensors by which the loss can be differentiated: "inputs", "initial NAME" for states, and weights by name."""
        initial = {f"initial {name}": state for name, state in zip(self.cell.states, self.state, strict=True)}
        return {"inputs": self.inputs, **initial, **self.weights}

    def loss(self, states: States) -> Float[Tensor, "replica batch"]:
        """Return, per sequence, the sum of k (s + s^2 + sin s) over all states s and time steps, with random k."""
        terms = [k * (s + s.square() + s.sin()) for s, k in zip(states, self.coefficients, strict=True)]
        return torch.stack([term.sum((0, 3)) for term in terms]).sum(0)

    def loss_at_end(self, last: Float[Tensor, "replica batch hidden"]) -> Float[Tensor, "replica batch"]:
        """Return, per sequence, the sum of k h_T, on the last hidden state alone."""
        return (self.coefficients[0][-1] * last).sum(-1)


def make_problem(
    cell: Recurrence, sizes: Sizes, device: torch.device, dtype: torch.dtype = torch.float64, *, seed: int = 0
) -> Problem:
    """Return a problem whose leaves require gradients, drawn on the CPU in float64 to be equal on every device."""
    generator = make_generator(seed, "verify")

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def moved(values: Tensor) -> Tensor:
        return values.to(device, dtype)

    shapes = cell.shapes(sizes.input, sizes.hidden)
    problem = Problem(
        cell=cell,
        weights={name: moved(_sized(name, normal(sizes.replica, *shape))) for name, shape in shapes.items()},
        state=tuple(moved(normal(sizes.replica, sizes.batch, sizes.hidden) / 2) for _ in cell.states),
        inputs=moved(normal(sizes.time, sizes.replica, sizes.batch, sizes.input)),
        coefficients=tuple(moved(normal(sizes.time, sizes.replica, sizes.batch, sizes.hidden)) for _ in cell.states),
    )
    for leaf in problem.leaves.values():
        leaf.requires_grad_()
    return problem


def _sized(name: str, values: Tensor) -> Tensor:
    """Scale standard normal `values` (replica, ...) to a weight; a matrix then keeps the size of what it multiplies."""
    if name == "gain":
        return 1 + values / 2
    return values / (values.shape[-1] ** 0.5 if values.dim() == 3 else 2)


@dataclass(frozen=True, kw_only=True)
class Solved:
    """Results of a forward and a backward pass.

    Attributes:
        states: Every state at every time step.
        adjoints: Adjoints that the engine records, by state name.
        gradients: Gradients with respect to `Problem.leaves`, by name.
    """

    states: States
    adjoints: dict[str, Adjoint]
    gradients: dict[str, Tensor]


def solve(problem: Problem, *, at_end: bool = False, edit: AdjointEdit | None = None) -> Solved:
    """Run the engine both ways on `loss`, or `loss_at_end` as a network reads it; `edit` changes carried adjoints."""
    recorder = AdjointRecorder()
    options = ScanOptions(read_steps=[len(problem.inputs) - 1] if at_end else (), recorder=recorder, edit=edit)
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
    """Layers of one cell and a linear readout, without what models add.

    Args:
        cell: Cell of every layer.
    """

    cell: Recurrence

    @override
    def recurrence(self) -> Recurrence:
        return self.cell


def make_network(model: Model, task: Task, device: torch.device, replicas: int = 2) -> Network:
    """Build a network for a task, in float64."""
    return model.build(interface_of(task), replica_generators(0, replicas, "verify network"), torch.float64).to(device)


def make_batch(task: Task, device: torch.device, *, batch_size: int = 4, replicas: int = 2) -> Batch:
    """Draw sequences of a task."""
    generators = replica_generators(0, replicas, "verify batch")
    return stack([task.sample(batch_size, generator) for generator in generators]).to(device)
