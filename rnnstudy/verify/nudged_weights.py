"""Parameter gradients of whole networks against finite differences of the loss."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from rnnstudy.core.seeding import make_generator
from rnnstudy.models.base import Network
from rnnstudy.tasks.base import Batch
from rnnstudy.verify.cells import all_cells, name_of
from rnnstudy.verify.finding import Finding, relative_error, worst_error
from rnnstudy.verify.nudged_states import NUDGES, TOLERANCE
from rnnstudy.verify.problems import SMALL, TASK, AnyCell, make_batch, make_network


def check_nudged_weights(device: torch.device) -> Iterator[Finding]:
    """Nudge every parameter of two layers of every cell along a random direction, forwards and backwards."""
    batch = make_batch(TASK, device)
    for cell in all_cells():
        network = make_network(AnyCell(cell=cell, hidden_size=SMALL.hidden, num_layers=2), TASK, device)
        yield Finding(
            check="dL/dparameter, each",
            against="parameter nudged",
            cell=name_of(cell),
            error=worst_error(_errors(network, batch)),
            tolerance=TOLERANCE,
        )


def _loss(network: Network, batch: Batch) -> Float[Tensor, " replica"]:
    return TASK.loss(network(batch.inputs, batch.loss_steps).outputs, batch)


def _errors(network: Network, batch: Batch) -> Iterator[float]:
    """Yield the error of each parameter's gradient against the slope of the loss, over all replicas."""
    parameters = dict(network.named_parameters())
    gradients = torch.autograd.grad(_loss(network, batch).sum(), list(parameters.values()))
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        v = torch.randn(parameter.shape, generator=make_generator(0, f"verify {name}"), dtype=torch.float64).to(
            parameter
        )
        slope = (gradient * v).flatten(1).sum(1)
        yield min(relative_error(slope, _slope(network, batch, parameter, eps * v) / eps, keep=0) for eps in NUDGES)


@torch.no_grad()
def _slope(network: Network, batch: Batch, parameter: Tensor, move: Tensor) -> Float[Tensor, " replica"]:
    """Return half the loss difference between a move of a parameter and its opposite; restore the parameter."""
    original = parameter.clone()
    ends = []
    for moved in (original + move, original - move):
        parameter.copy_(moved)
        ends.append(_loss(network, batch))
    parameter.copy_(original)
    return (ends[0] - ends[1]) / 2
