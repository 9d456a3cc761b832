"""The gradient of the weights as the sum over time that it is.

    dE/dW = sum over loss steps s, sum over time steps t <= s, of dE_s/dW(t), W(t) the copy of W that step t uses

Terms are added up for every cell; one by one they are compared with autograd through a loop over torch's functions of
one step, each with its own copy of the weights.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rnnstudy.gradients.weight_terms import weight_gradients, weight_terms
from rnnstudy.models.base import Network
from rnnstudy.recurrence.base import Recurrence, States
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.recurrence.scan import AFFINE
from rnnstudy.tasks.base import Batch
from rnnstudy.tasks.copy_memory import CopyMemory
from rnnstudy.verify.cells import all_cells, name_of
from rnnstudy.verify.figures import Figure, relative_error, worst
from rnnstudy.verify.problems import SMALL, AnyCell, make_batch, make_network

TOLERANCE = 1e-10
TASK = CopyMemory(delay=2, num_symbols=2, alphabet_size=2)
"""Cross entropy at every time step."""


def check(device: torch.device) -> Iterator[Figure]:
    """Add up the terms of every cell, in networks of two layers; look at those of one layer one by one.

    Yields:
        The figures.
    """
    batch = make_batch(TASK, device)
    for cell in all_cells():
        network = make_network(AnyCell(cell=cell, hidden_size=SMALL.hidden, num_layers=2), TASK, device)
        found = {
            "sum of all dE_s/dW(t)": _sums(network, batch),
            "dE/dW in one pass": weight_gradients(network, TASK, batch),
        }
        expected = _trained_on(network, batch)
        for what, layers in found.items():
            pairs = [
                (each[name], wanted[name]) for each, wanted in zip(layers, expected, strict=True) for name in wanted
            ]
            error = worst(relative_error(gradient, wanted, keep=1) for gradient, wanted in pairs)
            yield Figure(check=what, against="dE/dW of training", cell=name_of(cell), error=error, tolerance=TOLERANCE)
    for cell in (each for each in all_cells() if each.in_torch):
        network = make_network(AnyCell(cell=cell, hidden_size=SMALL.hidden), TASK, device)
        yield Figure(
            check="every dE_s/dW(t)",
            against="autograd, W copied",
            cell=name_of(cell),
            error=worst(_one_by_one(network, batch)),
            tolerance=TOLERANCE,
        )


Gradients = dict[str, Float[Tensor, "replica ..."]]
"""By weight name."""


def _trained_on(network: Network, batch: Batch) -> list[Gradients]:
    """What a backward pass of the loss leaves at the weights of each layer."""
    loss = TASK.loss(network(batch.inputs, batch.loss_steps).outputs, batch)
    weights = [layer.weights() for layer in network.recurrent_layers]
    flat = torch.autograd.grad(loss.sum(), [weight for each in weights for weight in each.values()])
    gradients = iter(flat)
    return [{name: next(gradients) for name in each} for each in weights]


def _sums(network: Network, batch: Batch) -> list[Gradients]:
    """The sum of all terms of each layer."""
    sums = [
        {name: torch.zeros_like(weight) for name, weight in layer.weights().items()}
        for layer in network.recurrent_layers
    ]
    for terms in weight_terms(network, TASK, batch):
        for name, gradients in terms.gradients.items():
            sums[terms.layer][name] = sums[terms.layer][name] + gradients.sum(0)
    return sums


def _function(cell: Recurrence) -> Callable[..., Any]:
    """One step of a cell as torch has it: (inputs, states, weight_ih, weight_hh, bias_ih, bias_hh).

    Returns:
        The function.

    Raises:
        AssertionError: The cell says that torch has it, but nobody has said here what it is called there.
    """
    match cell:
        case RNNRecurrence():
            return {"tanh": torch.rnn_tanh_cell, "relu": torch.rnn_relu_cell}[cell.nonlinearity]
        case GRURecurrence():
            return torch.gru_cell
        case LSTMRecurrence():
            return torch.lstm_cell
    raise AssertionError(f"say here which function of torch {cell} is")


def _one_by_one(network: Network, batch: Batch) -> Iterator[float]:
    """Compare every term of a network of one layer.

    Yields:
        The error of each loss step and weight.
    """
    found = {terms.loss_step: terms.gradients for terms in weight_terms(network, TASK, batch)}
    plain, data = copy.deepcopy(network).cpu(), batch.to(torch.device("cpu"))
    (layer,) = plain.recurrent_layers
    weights = {name: weight.detach() for name, weight in layer.weights().items()}
    inputs = plain.embed(data.inputs)
    # One copy for every time step and replica.
    copies = [
        [
            {name: weight[replica].clone().requires_grad_() for name, weight in weights.items()}
            for replica in range(plain.replicas)
        ]
        for _ in inputs
    ]
    hidden = torch.stack(
        [
            _run(layer.recurrence, inputs[:, replica], [each[replica] for each in copies])
            for replica in range(plain.replicas)
        ],
        dim=1,
    )
    losses = TASK.losses(plain.read_out(hidden), data)
    for step, gradients in found.items():
        share = losses[step].sum() / losses[:, 0].numel()
        for name, gradient in gradients.items():
            uses = [each[name] for row in copies[: step + 1] for each in row]
            wanted = torch.stack(torch.autograd.grad(share, uses, retain_graph=True)).view_as(gradient)
            yield relative_error(gradient, wanted, keep=2)


def _run(
    cell: Recurrence, inputs: Float[Tensor, "time batch input"], weights: Sequence[Mapping[str, Tensor]]
) -> Float[Tensor, "time batch hidden"]:
    """h_t of one replica, from zero, each step with weights of its own."""
    step = _function(cell)
    hidden_size = weights[0]["weight_hh"].shape[-1]
    state: States = tuple(inputs.new_zeros(inputs.shape[1], hidden_size) for _ in cell.states)
    seen = []
    for row, own in zip(inputs, weights, strict=True):
        hidden, *others = state
        after = step(row, state if others else hidden, *(own[name] for name in AFFINE))
        state = after if isinstance(after, tuple) else (after,)
        seen.append(state[0])
    return torch.stack(seen)
