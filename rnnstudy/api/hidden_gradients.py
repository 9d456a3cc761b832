"""Gradients with respect to every hidden state, from Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rnnstudy.core.errors import ConfigError, require_at_least, suggest
from rnnstudy.core.seeding import replica_generators
from rnnstudy.gradients.histograms import LOW, count_log10
from rnnstudy.gradients.norms import count_kinds, sequence_norms
from rnnstudy.models.base import Network
from rnnstudy.recurrence.base import Adjoint
from rnnstudy.tasks.base import Task
from rnnstudy.training.data import draw
from rnnstudy.training.step import TrainingStep

PARTS = ("total", "direct", "carried")
"""Values of `part`: total = direct + carried."""


@dataclass(frozen=True, kw_only=True)
class Log10Histogram:
    """Histogram of log10 |dL/ds_t| over the units and sequences, one per time step and replica.

    Attributes:
        counts: Entries in each bin; the first and the last bin also hold what lies beyond.
        edges: Powers of ten between which the bins lie.
        others: Entries without a finite logarithm ("zero", "nan", "inf"), which are in no bin, and how many of the
            counted ones are "subnormal"; per replica, over all time steps.
    """

    counts: Int[Tensor, "time replica bin"]
    edges: Float[Tensor, " edge"]
    others: Mapping[str, Int[Tensor, " replica"]]


@dataclass(frozen=True)
class StateGradient:
    """dL/ds_t of one state of one layer, per sequence: as if the loss were not divided by the batch size.

    Args:
        adjoint: Gradient of the mean loss over the batch.
    """

    adjoint: Adjoint

    @property
    def total(self) -> Float[Tensor, "time replica batch hidden"]:
        """The total derivative: direct + carried."""
        return self._part("total") * self._batch_size

    @property
    def direct(self) -> Float[Tensor, "time replica batch hidden"]:
        """The part that doesn't pass through the state at the next time step, such as through the readout."""
        return self._part("direct") * self._batch_size

    @property
    def carried(self) -> Float[Tensor, "time replica batch hidden"]:
        """The part that comes back through the state at the next time step."""
        return self._part("carried") * self._batch_size

    def norms(self, part: str = "total") -> Float[Tensor, "time replica batch"]:
        """Return the norm of every sequence's gradient, in float64, where 1e-40 is not yet 0."""
        return sequence_norms(self._part(part))

    def histogram(self, width: float = 0.5, part: str = "total") -> Log10Histogram:
        """Count the logarithms of a part's entries, as TensorBoard shows them, in bins of `width` powers of ten."""
        values = self._part(part)
        counts = count_log10(values, width)
        edges = LOW + width * torch.arange(counts.shape[-1] + 1, dtype=torch.float64)
        return Log10Histogram(counts=counts, edges=edges, others=count_kinds(values))

    @property
    def _batch_size(self) -> int:
        return self.adjoint.carried.shape[2]

    def _part(self, part: str) -> Tensor:
        if part not in PARTS:
            raise ConfigError(f"part must be one of {', '.join(PARTS)}, got '{part}'.")
        return getattr(self.adjoint, part)


@dataclass(frozen=True)
class HiddenGradients:
    """dL/ds_t of every layer and state; without a layer, members refer to the top one.

    Args:
        layers: State name ("h", "c") to gradient, one mapping per layer, the lowest first.
    """

    layers: Sequence[Mapping[str, StateGradient]]

    def layer(self, index: int = -1) -> Mapping[str, StateGradient]:
        """Return the gradients of one layer by state name; layer 0 is the lowest, -1 the top."""
        return self.layers[index]

    def of(self, state: str = "h", layer: int = -1) -> StateGradient:
        """Return the gradient of one state; raise ConfigError if the layer has no such state."""
        found = self.layer(layer)
        if state not in found:
            raise ConfigError(f"state must be one of this layer's, got '{state}'. {suggest(state, found)}")
        return found[state]

    @property
    def total(self) -> Float[Tensor, "time replica batch hidden"]:
        """dL/dh_t of the top layer, per sequence."""
        return self.of().total

    @property
    def direct(self) -> Float[Tensor, "time replica batch hidden"]:
        """The part of it that doesn't pass through h_{t+1}."""
        return self.of().direct

    @property
    def carried(self) -> Float[Tensor, "time replica batch hidden"]:
        """The part of it that comes back through h_{t+1}."""
        return self.of().carried

    def norms(self, state: str = "h", *, layer: int = -1, part: str = "total") -> Float[Tensor, "time replica batch"]:
        """Return the norm of every sequence's gradient, in float64."""
        return self.of(state, layer).norms(part)

    def histogram(
        self, state: str = "h", *, layer: int = -1, width: float = 0.5, part: str = "total"
    ) -> Log10Histogram:
        """Count the entries' logarithms, in bins of `width` powers of ten."""
        return self.of(state, layer).histogram(width, part)

    def _repr_html_(self) -> str:
        head = "<tr><th>layer<th>state<th>norm at the first time step<th>norm at the last</tr>"
        rows = [
            f"<tr><td>{index}<td>{escape(state)}<td>{norms[0].median():.2e}<td>{norms[-1].median():.2e}</tr>"
            for index, states in enumerate(self.layers)
            for state, gradient in states.items()
            for norms in [gradient.norms()]
        ]
        return f"<table>{head}{''.join(rows)}</table><p>Median over replicas and sequences, per sequence.</p>"


def hidden_gradients(network: Network, task: Task, *, batch_size: int = 64, seed: int = 0) -> HiddenGradients:
    """Compute the exact gradient of a task's loss with respect to every hidden state.

    Autograd on the output of `torch.nn.LSTM` yields the direct part only; this is the total, which no mitigation edits.

    >>> import rnnstudy as rs
    >>> task = rs.tasks.Adding(seq_len=100)
    >>> network = rs.build(rs.models.LSTM(hidden_size=32), task, replicas=8, seed=0)
    >>> gradients = rs.hidden_gradients(network, task, batch_size=64)
    >>> gradients.total.shape  # (time, replica, batch, hidden)
    torch.Size([100, 8, 64, 32])
    >>> norms = gradients.norms("h")  # (time, replica, batch)
    >>> bool(norms[0].median() < 1e-3 * norms[-1].median())  # it vanishes on its way back
    True

    Args:
        network: Networks for this task, trained or not; nothing about them changes.
        task: Problem that draws the batch and has the loss.
        batch_size: Sequences per replica, at least 1.
        seed: Seed of replica 0's batch; replica r uses `seed + r`. With the seed and `train.batch_size` of a run it is
            the batch on which the run's gradients are measured where its lengths vary.

    Returns:
        The gradients, in the precision of the network; `network.double()` makes it float64.

    Raises:
        ConfigError: `batch_size` is below 1.
    """
    require_at_least("batch_size", batch_size, 1)
    seeds = range(seed, seed + network.replicas)
    batch = draw(task, batch_size, replica_generators(seed, network.replicas, "probe"), network.readout_bias.device)
    adjoints = TrainingStep(task=task, network=network, mitigations=[], num_steps=1, seeds=seeds).probe(batch, 0)
    return HiddenGradients([{state: StateGradient(each) for state, each in layer.items()} for layer in adjoints])
