"""The gradient of recurrent weights split by loss step and source step, and summed again."""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.utils import parametrize

from rnnstudy.config.build import build
from rnnstudy.config.members import member, members
from rnnstudy.core.seeding import replica_generators
from rnnstudy.gradients.trajectories import in_double
from rnnstudy.gradients.weight_terms import weight_terms
from rnnstudy.models.base import RECURRENT, Model, Network
from rnnstudy.study.run.assemble import interface_of
from rnnstudy.tasks.base import Batch, Task
from rnnstudy.tasks.copy_memory import CopyMemory
from rnnstudy.theory.measures.networks import Example
from rnnstudy.training.data import draw

BUDGET = 400_000_000
"""Most numbers in the weight copies of all terms; beyond, fewer loss steps are used."""
SMALL_UNITS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Terms of dE/dW of one layer.

    Attributes:
        name: Name of network and layer.
        loss_steps: Time steps s with a loss that were used.
        log10_norm: log10 of the Frobenius norm of dE_s/dW(t), row t, column of s, over all weights that multiply states
            (over all weights if a cell has no such matrix); -inf for zero, NaN for t > s.
        share: By lag s - t, <sum of its terms, G> / <G, G>, G the gradient; adds to 1. NaN if G is zero or not finite.
        error: Largest ||sum of terms - G|| / ||G|| over the weights, G by one backward pass; 0 where both are 0.
        terms: Number of terms.
    """

    name: str
    loss_steps: tuple[int, ...]
    log10_norm: Float64[np.ndarray, "time loss_step"]
    share: Float64[np.ndarray, " time"]
    error: float
    terms: int

    @property
    def mean_lag(self) -> float:
        """Sum of lag |share| over sum of |share|, in time steps."""
        size = np.abs(self.share)
        return float((size * np.arange(len(size))).sum() / size.sum())


def split(example: Example) -> list[Split]:
    """Return the terms of each layer's gradient, lowest first; beyond BUDGET, of evenly spaced losses alone."""
    network = one_replica(example.network, example.replica)
    batch = example.batch.replica(slice(example.replica, example.replica + 1))
    batch = _counting(batch, sum(weight.numel() for layer in network.recurrent_layers for weight in layer.parameters()))
    gradients = backward_gradients(network, example.task, batch)
    layers = [f"{example.name}, layer {index}" for index in range(len(gradients))]
    names = layers if len(gradients) > 1 else [example.name]
    sums = [_Sum(name, gradient, batch) for name, gradient in zip(names, gradients, strict=True)]
    for terms in weight_terms(network, example.task, batch):
        sums[terms.layer].add(terms.loss_step, terms.first, terms.gradients)
    return [each.split() for each in sums]


def backward_gradients(network: Network, task: Task, batch: Batch) -> list[dict[str, Float[Tensor, "replica ..."]]]:
    """Return the float64 gradient of one backward pass, by layer and weight name; the network stays as it is.

    It is taken with respect to the weights, even where a model makes them functions of other parameters.
    """
    with torch.enable_grad(), parametrize.cached():
        double = in_double(network).requires_grad_()
        weights = [layer.weights() for layer in double.recurrent_layers]
        loss = task.loss(double(batch.inputs, batch.loss_steps).outputs, batch).sum()
        flat = [weight for layer in weights for weight in layer.values()]
        found = iter(torch.autograd.grad(loss, flat, materialize_grads=True))
    return [{name: next(found) for name in layer} for layer in weights]


def one_replica(network: Network, replica: int) -> Network:
    """Return a copy of a network with a single replica; the axis stays."""
    alone = copy.deepcopy(network).requires_grad_(False)
    for tensor in (*alone.parameters(), *alone.buffers()):
        if tensor is not alone.one_hot:
            tensor.data = tensor.data[replica : replica + 1].clone()
    alone.replicas = 1
    return alone


def small_examples() -> list[Example]:
    """Build every model, default but for 6 units and one layer, on a short copy task; with layer norm too if it can."""
    task = CopyMemory(delay=4, num_symbols=2, alphabet_size=3)
    batch = draw(task, 2, replica_generators(0, 1, "theory"), torch.device("cpu"))
    interface, models = interface_of(task), _models().items()
    networks = {name: model.build(interface, replica_generators(0, 1, "init")) for name, model in models}
    return [Example(family=name, network=each, replica=0, task=task, batch=batch) for name, each in networks.items()]


def _models() -> dict[str, Model]:
    found = {}
    for name in members("model"):
        settings = member("model", name) | {"hidden_size": SMALL_UNITS, "num_layers": 1}
        found[name] = build(settings, Model, path=f"model={name}")
        if "layer_norm" in settings:
            found[f"{name}, layer_norm"] = build(settings | {"layer_norm": True}, Model, path=f"model={name}")
    return found


class _Sum:
    """Sum of the terms of a layer, added up as they come."""

    def __init__(self, name: str, gradient: dict[str, Float[Tensor, "replica ..."]], batch: Batch) -> None:
        """Start without terms."""
        self._name, self._gradient = name, gradient
        self._counted = [weight for weight in gradient if weight in RECURRENT] or list(gradient)
        self._place = {step: index for index, step in enumerate(batch.loss_steps.tolist())}
        num_steps = len(batch.inputs)
        self._logs = torch.full((num_steps, len(self._place)), torch.nan, dtype=torch.float64)
        self._sums = {weight: torch.zeros_like(each) for weight, each in gradient.items()}
        self._along = torch.zeros(num_steps, dtype=torch.float64)
        # Divided by the largest entry, so that squares of very small gradients stay above 1e-308.
        self._scale = max(float(gradient[weight].abs().max()) for weight in self._counted)
        self._total = torch.cat([gradient[weight].flatten() for weight in self._counted]) / self._scale
        self._terms = 0

    def add(self, loss_step: int, first: int, gradients: dict[str, Float[Tensor, "time replica ..."]]) -> None:
        """Add the terms of one loss step for the time steps from `first` on."""
        for weight, terms in gradients.items():
            self._sums[weight] += terms.sum(0)
        rows = torch.cat([gradients[weight].flatten(1) for weight in self._counted], dim=1)
        stop = first + len(rows)
        self._logs[first:stop, self._place[loss_step]] = _log10_norm(rows)
        self._along[loss_step - stop + 1 : loss_step - first + 1] += (rows / self._scale @ self._total).flip(0)
        self._terms += len(rows)

    def split(self) -> Split:
        """Return the sum of the terms added so far."""
        return Split(
            name=self._name,
            loss_steps=tuple(self._place),
            log10_norm=self._logs.numpy(),
            share=(self._along / (self._total @ self._total)).numpy(),
            error=worst(_error(self._sums[weight], self._gradient[weight]) for weight in self._gradient),
            terms=self._terms,
        )


def _log10_norm(rows: Float[Tensor, "time numbers"]) -> Float[Tensor, " time"]:
    """Return log10 of the norm of every row, correct even where float64 cannot hold the squares of entries."""
    scale = rows.abs().amax(1)
    scaled = rows / torch.where(scale > 0, scale, 1)[:, None]
    return torch.linalg.vector_norm(scaled, dim=1).log10() + scale.log10()


def worst(errors: Iterable[float]) -> float:
    """Return the largest error; NaN if one is NaN."""
    return max(errors, key=lambda error: (math.isnan(error), error))


def _error(actual: Tensor, expected: Tensor) -> float:
    difference, size = float(torch.linalg.vector_norm(actual - expected)), float(torch.linalg.vector_norm(expected))
    return difference / size if size else math.inf if difference else 0.0


def _counting(batch: Batch, numbers: int) -> Batch:
    """Keep the loss steps that count, or evenly spaced ones of them if all would exceed BUDGET."""
    chosen = batch.counted.flatten(1).any(1).nonzero().flatten()
    all_terms = int((batch.loss_steps[chosen] + 1).sum()) * numbers
    if all_terms > BUDGET:
        kept = max(2, len(chosen) * BUDGET // all_terms) if len(chosen) > 1 else 1
        chosen = chosen[torch.linspace(0, len(chosen) - 1, kept).round().long().unique()]
    names = ("loss_steps", "targets", "counted", "answer")
    return replace(batch, **{name: getattr(batch, name)[chosen] for name in names})
