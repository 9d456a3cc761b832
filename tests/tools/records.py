"""What a training step shows to the instruments, without a run; and the figures that they make of it."""

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from tools.members import plan
from tools.training import interface_of
from torch import Tensor, nn

from rnnstudy.core.seeding import replica_generators
from rnnstudy.gradients.norms import replica_norms
from rnnstudy.gradients.trajectories import Trajectory
from rnnstudy.instruments.base import Instrument, Record
from rnnstudy.mitigations.base import Mitigation
from rnnstudy.models.base import Model, Network
from rnnstudy.models.rnn import RNN
from rnnstudy.recurrence.base import Adjoint, Direct
from rnnstudy.tasks.adding import Adding
from rnnstudy.tasks.base import Batch, Task, stack
from rnnstudy.training.step import TrainingStep
from rnnstudy.writers.base import Histogram, HistogramOverTime

REPLICAS = 3

NUMBERS = Adding(seq_len=6)

TASKS = {
    "loss at the end": ("task=adding", "task.seq_len=6"),
    "loss at all steps": ("task=copy_memory", "task.delay=2", "task.num_symbols=2"),
    "symbols, loss at the end": ("task=delayed_recall", "task.lag=4", "task.lead=1"),
    "words, loss at all steps": ("task=coconut_water", "task.target=next_word"),
}
"""Features and tokens, losses at one step and at many."""

plan_once = functools.cache(plan)
"""Settings are frozen, and to compose them takes longer than most tests."""


def network_of(model: Model, task: Task = NUMBERS, dtype: torch.dtype = torch.float64) -> Network:
    """A network for a task."""
    return model.build(interface_of(task), replica_generators(0, REPLICAS, "init"), dtype)


def draw(task: Task = NUMBERS, stream: str = "probe", batch_size: int = 4) -> Batch:
    """A batch of a task."""
    return stack([task.sample(batch_size, generator) for generator in replica_generators(0, REPLICAS, stream)])


def record_of(
    network: Network,
    probe: Batch,
    *,
    task: Task = NUMBERS,
    batch: Batch | None = None,
    adjoints: Sequence[Mapping[str, Tensor]] = (),
) -> Record:
    """A record of which some parts are made up.

    Args:
        network: What is measured.
        probe: The probe.
        task: What it is trained on.
        batch: The training batch; the probe if None.
        adjoints: Of each layer, state name to the total adjoint of the mean loss over the batch.

    Returns:
        The record.
    """
    nothing = torch.zeros(network.replicas, dtype=torch.float64)
    whole = [
        {state: Adjoint(source=Direct(total), carried=torch.zeros_like(total)) for state, total in each.items()}
        for each in adjoints
    ]
    return Record(
        step=0,
        task=task,
        network=network,
        batch=probe if batch is None else batch,
        adjoints=whole,
        answer_adjoints=whole,
        probe=probe,
        raw_norm=nothing,
        clipped_norm=nothing,
    )


def record_of_adjoints(*layers: Mapping[str, Tensor], batch: Batch | None = None) -> Record:
    """The record of a step whose adjoints are given, each (time, replica, batch, hidden)."""
    (first, *_) = layers[0].values()
    task = Adding(seq_len=max(2, len(first)))
    batch = draw(task, batch_size=first.shape[2]) if batch is None else batch
    return record_of(network_of(RNN(hidden_size=1), task), batch, task=task, adjoints=layers)


def record_of_norms(norms: Sequence[Sequence[float]], batch: Batch | None = None) -> Record:
    """The record of a step in which ||dL/dh_t|| of the only sequence is given, (replica, time)."""
    return record_of_adjoints({"h": torch.tensor(norms, dtype=torch.float64).T[:, :, None, None]}, batch=batch)


def record_of_step(
    network: Network, batch: Batch, task: Task, *, probe: Batch | None = None, mitigations: Sequence[Mitigation] = ()
) -> Record:
    """What a real training step shows.

    Args:
        network: What is trained.
        batch: The training batch.
        task: What it is trained on.
        probe: The probe; the training batch if None.
        mitigations: They act in the step.

    Returns:
        The record.
    """
    compute = TrainingStep(
        task=task, network=network, mitigations=mitigations, num_steps=1, seeds=range(network.replicas)
    )
    result = compute(batch, 0, keep_gradients=True)
    made_up = record_of(network, batch if probe is None else probe, task=task, batch=batch)
    clipped = replica_norms(compute.gradients().values())
    of_answer = result.adjoints if task.facts.answer_alone else compute.probe(batch, 0, of_answer=True)
    return replace(
        made_up,
        adjoints=result.adjoints,
        answer_adjoints=of_answer,
        raw_norm=result.raw_norm,
        clipped_norm=clipped,
        gradients=result.gradients,
    )


def figures(instrument: Instrument, record: Record) -> dict[str, Tensor]:
    """What an instrument measures, by tag; counts of histograms as they are."""
    measured = instrument.measure(record)
    return {
        tag: each.counts if isinstance(each, Histogram | HistogramOverTime) else each.values
        for tag, each in measured.items()
    }


def moved(network: Network) -> Network:
    """Away from weights that are zero or alike at the start."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype), alpha=0.2)
    return network


def damaged(network: Network, value: float, replica: int = 1) -> Network:
    """A copy in which one weight of every recurrent layer, of one replica, has a value that it should not have."""
    broken = copy.deepcopy(network)
    with torch.no_grad():
        for layer in broken.recurrent_layers:
            for parameter in layer.parameters():
                parameter[replica].view(-1)[0] = value
    return broken


def reading(network: Network, inputs: Tensor) -> list[Tensor]:
    """What every layer reads in an ordinary forward pass in float64, (time, replica, batch, input)."""
    double = copy.deepcopy(network).double()
    seen: list[Tensor] = []

    def keep(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.append(arguments[0].detach())

    for layer in double.recurrent_layers:
        layer.register_forward_pre_hook(keep)
    double(inputs, torch.tensor([len(inputs) - 1]))
    return seen


def plain_paths(network: Network, inputs: Tensor) -> list[Trajectory]:
    """Of every layer, its cell, its weights in float64 and what it reads, from zero states; the states are left out."""
    found = []
    for layer, read in zip(network.recurrent_layers, reading(network, inputs), strict=True):
        weights = {name: weight.detach().double() for name, weight in layer.weights().items()}
        zero = tuple(read.new_zeros(*read.shape[1:3], layer.hidden_size) for _ in layer.recurrence.states)
        found.append(Trajectory(cell=layer.recurrence, weights=weights, inputs=read, initial=zero, states=()))
    return found


def linear(recurrent: Tensor, task: Task = NUMBERS, dtype: torch.dtype = torch.float64) -> Network:
    """A vanilla network with the identity as activation and the same given recurrent matrix in all replicas."""
    network = network_of(RNN(hidden_size=len(recurrent), nonlinearity="identity"), task, dtype)
    with torch.no_grad():
        network.recurrent_layers[0].weights()["weight_hh"].copy_(recurrent)
    return network
