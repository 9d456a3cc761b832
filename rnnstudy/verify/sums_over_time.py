"""The gradient of the weights as a sum over time.

    dE/dW = sum over loss steps s, sum over time steps t <= s, of dE_s/dW(t), W(t) the copy of W that step t uses

Sums are checked for every cell; single terms are compared with autograd through a loop over torch.nn's cell of one
step, each step with its own copy of the weights.
"""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from rnnstudy.gradients.weight_terms import weight_gradients, weight_terms
from rnnstudy.models.base import Network
from rnnstudy.tasks.base import Batch
from rnnstudy.theory.measures.terms import backward_gradients
from rnnstudy.verify.cells import all_cells, name_of
from rnnstudy.verify.finding import Finding, relative_error, worst_error
from rnnstudy.verify.problems import SMALL, TASK, AnyCell, make_batch, make_network
from rnnstudy.verify.torch_cells import torch_cell, unroll_steps

TOLERANCE = 1e-10


def check_sums_over_time(device: torch.device) -> Iterator[Finding]:
    """Check the sum of terms of every cell, in networks of two layers, and every single term of one layer."""
    batch = make_batch(TASK, device)
    for cell in all_cells():
        network = make_network(AnyCell(cell=cell, hidden_size=SMALL.hidden, num_layers=2), TASK, device)
        expected = backward_gradients(network, TASK, batch)
        for what, layers in (
            ("sum of all dE_s/dW(t)", _sums(network, batch)),
            ("dE/dW in one pass", weight_gradients(network, TASK, batch)),
        ):
            pairs = [
                (each[name], wanted[name]) for each, wanted in zip(layers, expected, strict=True) for name in wanted
            ]
            error = worst_error(relative_error(gradient, wanted, keep=1) for gradient, wanted in pairs)
            yield Finding(check=what, against="dE/dW of training", cell=name_of(cell), error=error, tolerance=TOLERANCE)
    for cell in (each for each in all_cells() if each.in_torch):
        network = make_network(AnyCell(cell=cell, hidden_size=SMALL.hidden), TASK, device)
        yield Finding(
            check="every dE_s/dW(t)",
            against="autograd, W copied",
            cell=name_of(cell),
            error=worst_error(_one_by_one(network, batch)),
            tolerance=TOLERANCE,
        )


def _sums(network: Network, batch: Batch) -> list[dict[str, Float[Tensor, "replica ..."]]]:
    """Return the sum of all terms of each layer."""
    sums = [
        {name: torch.zeros_like(weight) for name, weight in layer.weights().items()}
        for layer in network.recurrent_layers
    ]
    for terms in weight_terms(network, TASK, batch):
        for name, gradients in terms.gradients.items():
            sums[terms.layer][name] = sums[terms.layer][name] + gradients.sum(0)
    return sums


def _one_by_one(network: Network, batch: Batch) -> Iterator[float]:
    """Yield the error of the terms of each loss step and weight, in a network of one layer."""
    found = {terms.loss_step: terms.gradients for terms in weight_terms(network, TASK, batch)}
    plain, data = copy.deepcopy(network).cpu(), batch.to(torch.device("cpu"))
    (layer,) = plain.recurrent_layers
    weights = {name: weight.detach() for name, weight in layer.weights().items()}
    inputs = plain.embed(data.inputs)
    module = torch_cell(layer.recurrence, inputs.shape[-1], SMALL.hidden)
    replicas = [{name: weight[replica] for name, weight in weights.items()} for replica in range(plain.replicas)]
    # One copy for every time step and replica.
    copies = [[{name: each.clone().requires_grad_() for name, each in own.items()} for own in replicas] for _ in inputs]
    hidden = []
    for replica in range(plain.replicas):
        steps = [partial(_with_weights, module, row[replica]) for row in copies]
        start = tuple(state[replica] for state in layer.recurrence.zero_state(inputs, SMALL.hidden))
        hidden.append(torch.stack([states[0] for states in unroll_steps(steps, inputs[:, replica], start)]))
    losses = TASK.losses(plain.read_out(torch.stack(hidden, dim=1)), data)
    for step, gradients in found.items():
        share = losses[step].sum() / losses[:, 0].numel()
        for name, gradient in gradients.items():
            uses = [each[name] for row in copies[: step + 1] for each in row]
            wanted = torch.stack(torch.autograd.grad(share, uses, retain_graph=True)).view_as(gradient)
            yield relative_error(gradient, wanted, keep=2)


def _with_weights(module: nn.Module, weights: dict[str, Tensor], *arguments: Any) -> Any:
    return functional_call(module, weights, arguments)
