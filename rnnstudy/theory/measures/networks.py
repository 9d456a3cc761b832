"""Networks that the theory is compared with: random ones, or the network of a run."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rnnstudy.core.errors import ConfigError, RnnstudyError, require_between, require_size
from rnnstudy.core.seeding import replica_generators
from rnnstudy.gradients.activation_curves import gamma_of
from rnnstudy.gradients.spectra import conditions
from rnnstudy.gradients.trajectories import (
    Drive,
    Trajectory,
    network_trajectories,
    random_trajectory,
    trace,
    with_radius,
)
from rnnstudy.models.base import Network
from rnnstudy.models.gru import GRU
from rnnstudy.models.lstm import LSTM
from rnnstudy.models.rnn import RNN
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.study.run.assemble import interface_of
from rnnstudy.study.run.load import Loaded
from rnnstudy.tasks.base import Batch, Task
from rnnstudy.tasks.coconut_water import CoconutWater
from rnnstudy.training.data import draw

SEQUENCES = 4
"""Sequences of a task that a network reads."""

MOST_UNITS = 256
"""Most units: what is measured takes time in proportion to their cube. More would take minutes to hours."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Named:
    """Something with a name for people; figures draw those of one family together, one line per radius.

    Attributes:
        family: Name without the radius.
        radius: Spectral radius that tells it from others of its family; None if it is alone.
    """

    family: str
    radius: float | None = None

    @property
    def name(self) -> str:
        """Family and radius."""
        return self.family if self.radius is None else f"{self.family}, {self.radius_name}"

    @property
    def radius_name(self) -> str:
        """Name among its family."""
        return f"ρ={self.radius:g}"


N = TypeVar("N", bound=Named)


def families(every: Iterable[N]) -> list[list[N]]:
    """Return all of one family together, in order of appearance."""
    found: dict[str, list[N]] = {}
    for each in every:
        found.setdefault(each.family, []).append(each)
    return list(found.values())


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer(Named):
    """A recurrent layer to look at.

    Attributes:
        trajectory: Path of one replica; random networks have one sequence, those of runs several.
        gamma: Bound of |f'| if h_t = f(W_hh h_{t-1} + ...); None for other cells, where W_hh alone bounds nothing.
    """

    trajectory: Trajectory
    gamma: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Example(Named):
    """A network with a loss, for gradients of weights.

    Attributes:
        network: Network with all its replicas.
        replica: Replica to look at.
        task: Task that defines the loss.
        batch: A few sequences.
    """

    network: Network
    replica: int
    task: Task
    batch: Batch


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Networks that the topics describe.

    Attributes:
        title: One line that describes the networks.
        layers: Layers to follow.
        examples: Networks with a loss.
        at_end: The same networks with a loss at the last time step alone, to follow its gradient back; may be empty.
        drive: Drive of the layers' trajectories.
    """

    title: str
    layers: tuple[Layer, ...]
    examples: tuple[Example, ...]
    at_end: tuple[Example, ...] = ()
    drive: Drive

    @property
    def losses(self) -> tuple[Example, ...]:
        """Networks whose loss is backpropagated: `at_end` if there are any, else `examples`."""
        return self.at_end or self.examples


def random_subject(
    *, hidden_size: int, seq_len: int, seed: int, radii: Sequence[float] = (), matrix: Tensor | None = None
) -> Subject:
    """Return random networks run over standard normal inputs; raise ConfigError if a number is out of range.

    They are vanilla networks with tanh, sigmoid and relu, and GRU and LSTM unless `matrix` (hidden, hidden) is given as
    W_hh. Each of `radii` gives them once, with that spectral radius of every square block of W_hh; without any, they
    are as torch initialises them.
    """
    require_size("hidden_size", hidden_size, 1)
    require_size("seq_len", seq_len, 1)
    cells: dict[str, Recurrence] = {
        "rnn, tanh": RNNRecurrence(nonlinearity="tanh"),
        "rnn, sigmoid": RNNRecurrence(nonlinearity="sigmoid"),
        "rnn, relu": RNNRecurrence(nonlinearity="relu"),
    }
    if matrix is None:
        cells |= {"gru": GRURecurrence(), "lstm": LSTMRecurrence()}
        kind = "networks with random weights"
    else:
        hidden_size, kind = len(matrix), "vanilla networks with the given W_hh"
    scaled = f", spectral radius {', '.join(f'{radius:g}' for radius in radii)}" if radii else ""
    layers = []
    for (name, cell), radius in itertools.product(cells.items(), radii or (None,)):
        trajectory = random_trajectory(cell, hidden_size=hidden_size, seq_len=seq_len, seed=seed, radius=radius)
        if matrix is not None:
            weights = {**trajectory.weights, "weight_hh": matrix.double().unsqueeze(0)}
            trajectory = trace(cell, weights, trajectory.inputs)
        shown = radius if len(radii) > 1 else None
        layers.append(Layer(family=name, radius=shown, trajectory=trajectory, gamma=gamma_of(cell)))
    return Subject(
        title=f"{kind}: {hidden_size} units, {seq_len} time steps, seed {seed}{scaled}",
        layers=tuple(layers),
        examples=tuple(_random_examples(CoconutWater(target="next_word"), hidden_size, seed, radii, matrix)),
        at_end=tuple(_random_examples(CoconutWater(target="answer"), hidden_size, seed, radii, matrix)),
        drive="task",
    )


def _random_examples(
    task: Task, hidden_size: int, seed: int, radii: Sequence[float], matrix: Tensor | None
) -> Iterator[Example]:
    """Build untrained networks that read a task's sequences, with the given radii or W_hh."""
    batch = draw(task, SEQUENCES, replica_generators(seed, 1, "theory"), torch.device("cpu"))
    models = {"rnn": RNN, "gru": GRU, "lstm": LSTM} if matrix is None else {"rnn": RNN}
    for (name, model), radius in itertools.product(models.items(), radii or (None,)):
        network = model(hidden_size=hidden_size).build(interface_of(task), replica_generators(seed, 1, "init"))
        (layer,) = network.recurrent_layers
        with torch.no_grad():
            if matrix is not None:
                layer.get_parameter("weight_hh").copy_(matrix)
            elif radius is not None:
                layer.get_parameter("weight_hh").copy_(with_radius(layer.weights()["weight_hh"], radius))
        shown = radius if len(radii) > 1 else None
        yield Example(family=name, radius=shown, network=network, replica=0, task=task, batch=batch)


def run_subject(loaded: Loaded, *, replica: int, seq_len: int | None, drive: Drive) -> Subject:
    """Return a run's network and layers, followed over sequences of its task; `seq_len` None is the run's own.

    Raises:
        ConfigError: The run has no such replica, the task no such length, or the replica's weights are not finite.
    """
    network, task = loaded.network, loaded.plan.task
    if not 0 <= replica < network.replicas:
        raise ConfigError(f"replica must be between 0 and {network.replicas - 1} for this run, got {replica}.")
    _require_finite(loaded, replica)
    if seq_len is not None:
        try:
            task = task.with_seq_len(seq_len)
        except ConfigError as error:
            now = task.facts.seq_len
            raise ConfigError(f"seq_len {seq_len} is not one this task can have (in training {now}): {error}") from None
    generators = replica_generators(loaded.plan.run.seed, network.replicas, "theory")
    batch = draw(task, SEQUENCES, generators, torch.device("cpu"))
    paths = network_trajectories(network, batch.inputs, drive=drive)
    names = [loaded.model] if len(paths) == 1 else [f"layer {index}" for index in range(len(paths))]
    layers = tuple(
        Layer(family=name, trajectory=path.replica(replica), gamma=gamma_of(path.cell))
        for name, path in zip(names, paths, strict=True)
    )
    example = Example(family=loaded.model, network=network, replica=replica, task=task, batch=batch)
    driven = f"{len(batch.inputs)} time steps {'of its task' if drive == 'task' else 'by itself'}"
    title = f"{loaded.folder.path.name} after {loaded.step} optimizer steps, replica {replica}, over {driven}"
    return Subject(title=title, layers=layers, examples=(example,), drive=drive)


def _require_finite(loaded: Loaded, replica: int) -> None:
    """Raise ConfigError, with the weight and the usable replicas, if this replica has NaN or infinite weights."""
    odd: dict[int, str] = {}
    for name, weight in loaded.network.named_parameters():
        for number in (~weight.flatten(1).isfinite().all(1)).nonzero().flatten().tolist():
            odd.setdefault(number, name)
    if replica in odd:
        others = " or ".join([str(number) for number in range(loaded.network.replicas) if number not in odd][:8])
        way_out = f"choose another: --replica {others}" if others else "no replica of it has finite ones"
        raise ConfigError(
            f"replica {replica} of {loaded.folder.path} has weights that are NaN or infinite after {loaded.step} steps "
            f"({odd[replica]}); {way_out}."
        )


def read_matrix(path: Path) -> Float[Tensor, "hidden hidden"]:
    """Read W_hh in float64 from a file; raise RnnstudyError if unreadable, ConfigError if not square and finite."""
    try:
        values = _read_numbers(path)
    except OSError as error:
        raise RnnstudyError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, EOFError):
        values = None
    if values is None or values.ndim != 2:
        raise RnnstudyError(f"{path} must hold a matrix: a row of numbers a line, or a .npy file of numbers.")
    matrix = torch.from_numpy(values)
    try:
        if matrix.shape[0] == matrix.shape[1]:
            require_between("the number of rows", len(matrix), 1, MOST_UNITS)
        conditions(matrix, 1.0)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return matrix


def _read_numbers(path: Path) -> np.ndarray | None:
    """Read .npy (None unless real numbers), or text with a row per line and spaces or commas between numbers."""
    if path.suffix == ".npy":
        loaded = np.load(path, allow_pickle=False)
        real = np.issubdtype(loaded.dtype, np.floating) or np.issubdtype(loaded.dtype, np.integer)
        return loaded.astype(np.float64) if real else None
    lines = [line.partition("#")[0].replace(",", " ").split() for line in path.read_text().splitlines()]
    return np.array([line for line in lines if line], dtype=np.float64)
