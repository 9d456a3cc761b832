"""Gradient of the recurrent weights as a sum over time.

    dE/dW = sum over loss steps s, sum over source steps t <= s, of  dE_s/dW(t)

W(t) is the copy of W that time step t uses, E_s the part of the loss that the output at s makes. A term reaches back
over a lag s - t. The recurrence itself gives every term: a backward pass with the loss at s alone gives the adjoints,
and then every time step is run as a sequence of its own with its own copy of the weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rnnstudy.gradients.trajectories import Trajectory, in_double, network_trajectories
from rnnstudy.models.base import Network
from rnnstudy.recurrence.base import AdjointRecorder, States
from rnnstudy.recurrence.scan import spans
from rnnstudy.tasks.base import Batch, Task

AT_ONCE = 1 << 22
"""Numbers of all copies of the weights held at once: 32 MB."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Gradients of one output's loss with respect to one layer's weights, through each time step.

    Attributes:
        loss_step: Time step s of the output.
        layer: Index of the layer, 0 the lowest.
        first: Time step of the first of `gradients`.
        gradients: dE_s/dW(t) of the batch's mean loss by weight name, t = first, first + 1, ...; (time, replica, ...).
    """

    loss_step: int
    layer: int
    first: int
    gradients: dict[str, Float[Tensor, "time replica ..."]]


def weight_terms(network: Network, task: Task, batch: Batch) -> Iterator[Terms]:
    """Yield all terms, by loss step and then layer, in runs of time steps that fit into memory, in float64.

    The batch has a replica axis and is read from zero states; the network stays as it is. The sum over everything is
    the gradient that training uses.
    """
    graph = _Graph(network, task, batch)
    for index, loss_step in enumerate(batch.loss_steps.tolist()):
        seed = torch.zeros_like(graph.seeds)
        seed[index] = graph.seeds[index]
        for layer, adjoints in enumerate(graph.backward(seed)):
            for steps in _spans(graph.trajectories[layer], loss_step + 1):
                gradients = _through_each_step(graph.trajectories[layer], adjoints, steps)
                yield Terms(loss_step=loss_step, layer=layer, first=steps.start, gradients=gradients)


def weight_gradients(network: Network, task: Task, batch: Batch) -> list[dict[str, Float[Tensor, "replica ..."]]]:
    """Return the sum of all terms, by weight name for each layer: the gradient of the mean batch loss, in float64.

    Found by one backward pass, with respect to the weights themselves, also where a model makes them functions of other
    parameters.
    """
    graph = _Graph(network, task, batch)
    found = []
    for trajectory, adjoints in zip(graph.trajectories, graph.backward(graph.seeds), strict=True):
        runs = [_through_each_step(trajectory, adjoints, steps) for steps in _spans(trajectory, trajectory.num_steps)]
        found.append({name: torch.stack([run[name].sum(0) for run in runs]).sum(0) for name in trajectory.weights})
    return found


class _Graph:
    """A network's forward pass in float64, which turns any adjoint of its outputs into adjoints of its states.

    Attributes:
        trajectories: Path of every layer.
        seeds: Derivative of the mean loss with respect to the outputs, (loss_step, replica, batch, output).
    """

    def __init__(self, network: Network, task: Task, batch: Batch) -> None:
        """Run the network."""
        self.trajectories = network_trajectories(network, batch.inputs)
        self._recorders = [AdjointRecorder() for _ in self.trajectories]
        with torch.enable_grad():
            double = in_double(network).requires_grad_()
            self._weights = list(double.parameters())
            self._outputs = double(batch.inputs, batch.loss_steps, recorders=self._recorders).outputs
            leaf = self._outputs.detach().requires_grad_()
            self.seeds: Tensor = torch.autograd.grad(task.loss(leaf, batch).sum(), leaf)[0]

    def backward(self, seed: Tensor) -> list[States]:
        """Return what reaches each layer's states after every time step, given the outputs' adjoint."""
        torch.autograd.grad(self._outputs, self._weights, seed, retain_graph=True, allow_unused=True)
        return [_arriving(*pair) for pair in zip(self.trajectories, self._recorders, strict=True)]


def _arriving(trajectory: Trajectory, recorder: AdjointRecorder) -> States:
    """Return what reaches every state after a time step from outside of that step, each (time replica batch hidden).

    The output's adjoint is the total one. Another state's total includes what arrives through the output of the same
    step, which running the step will add; so only what was carried back counts. Zero for a state that repeats an
    earlier one: that one's total already includes what it carries.
    """
    first, *others = trajectory.cell.states
    found, zero = recorder.adjoints, torch.zeros_like(trajectory.states[0])
    return found[first].total, *(found[name].carried if name in found else zero for name in others)


def _spans(trajectory: Trajectory, num_steps: int) -> list[range]:
    return spans(num_steps, max(1, AT_ONCE // sum(weight.numel() for weight in trajectory.weights.values())))


@torch.enable_grad()
def _through_each_step(trajectory: Trajectory, adjoints: States, steps: range) -> dict[str, Tensor]:
    """Return the gradients of the copies of the weights that `steps` use, given the adjoints after them."""
    during, count = slice(steps.start, steps.stop), len(steps)

    def copies(weight: Tensor) -> Tensor:
        return weight.expand(count, *weight.shape).flatten(0, 1).requires_grad_()

    weights = {name: copies(weight) for name, weight in trajectory.weights.items()}
    inputs = trajectory.inputs[during].flatten(0, 1).unsqueeze(0)
    before = tuple(state[during].flatten(0, 1) for state in trajectory.before)
    after = trajectory.cell.unroll(inputs, before, weights)
    seeds = [adjoint[during].flatten(0, 1).unsqueeze(0) for adjoint in adjoints]
    found = torch.autograd.grad(after, list(weights.values()), seeds, materialize_grads=True)
    return {name: gradient.unflatten(0, (count, -1)) for name, gradient in zip(weights, found, strict=True)}
