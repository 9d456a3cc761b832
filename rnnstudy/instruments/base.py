"""Instruments: they measure on a schedule, and never touch the run."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rnnstudy.core.errors import require_at_least
from rnnstudy.core.schedule import Every, Schedule
from rnnstudy.gradients.norms import sequence_norms
from rnnstudy.models.base import Network
from rnnstudy.recurrence.base import Adjoint
from rnnstudy.runs.events import Event
from rnnstudy.runs.tags import Meaning
from rnnstudy.tasks.base import Batch, Task
from rnnstudy.writers.base import Measurements

Tier = Literal["cheap", "expensive"]

LooksAt = Literal["the training batch", "the probe", "the weights"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """Data of one training step for the instruments, before the weights change.

    Attributes:
        step: Optimizer steps done so far.
        task: Task that the network is trained on.
        network: The network, not to be changed.
        batch: Training batch of this step, or, where lengths vary, a fixed one of the greatest length.
        adjoints: State name to adjoint of the mean loss over this batch, as mitigations have edited it, per layer.
        answer_adjoints: Likewise of the answer's loss alone; `adjoints` itself where that is the loss trained on.
        probe: Batch that stays the same throughout the run and is not trained on, of the greatest length.
        raw_norm: Norm of the gradient of all parameters on the training batch, before the mitigations change it.
        clipped_norm: The same norm after all mitigations.
        gradients: Parameter name to the gradient that `raw_norm` is of; empty unless an instrument needs it.
    """

    step: int
    task: Task
    network: Network
    batch: Batch
    adjoints: Sequence[dict[str, Adjoint]]
    answer_adjoints: Sequence[dict[str, Adjoint]]
    probe: Batch
    raw_norm: Float[Tensor, " replica"]
    clipped_norm: Float[Tensor, " replica"]
    gradients: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def norms(self) -> list[dict[str, Float[Tensor, "time replica batch"]]]:
        """State name to ||dL/ds_t|| (total, per sequence) of every sequence, per layer, in float64."""
        return _total_norms(self.adjoints)

    @property
    def sends_answer_alone(self) -> bool:
        """Whether the answer's loss was sent back by itself, as the loss trained on has other outputs too."""
        return self.answer_adjoints is not self.adjoints

    @cached_property
    def answer_norms(self) -> list[dict[str, Float[Tensor, "time replica batch"]]]:
        """The same norms for the answer's loss alone."""
        return _total_norms(self.answer_adjoints) if self.sends_answer_alone else self.norms


def _total_norms(layers: Sequence[dict[str, Adjoint]]) -> list[dict[str, Float[Tensor, "time replica batch"]]]:
    return [{state: sequence_norms(adjoint.total) for state, adjoint in adjoints.items()} for adjoints in layers]


@dataclass(frozen=True, kw_only=True)
class Update:
    """Change of the weights by one optimizer step.

    Attributes:
        network: Network with the weights after the step, not to be changed.
        before: Parameter name to its value before the step.
    """

    network: Network
    before: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Flown:
    """Data of one training step for instruments that watch every step; computed on the device, and not yet read.

    Attributes:
        step: Optimizer steps done so far.
        losses: Mean training loss over the batch.
        raw_norm: Norm of the gradient of all parameters before the mitigations.
        clipped_norm: The same norm after all mitigations.
        adjoints: State name to adjoint of the mean loss, as mitigations have edited it, per layer.
        ends: Place in the data where each sequence ends, if the task reads on from there.
    """

    step: int
    losses: Float[Tensor, " replica"]
    raw_norm: Float[Tensor, " replica"]
    clipped_norm: Float[Tensor, " replica"]
    adjoints: Sequence[dict[str, Adjoint]]
    ends: Int[Tensor, "replica batch"] | None


class Watcher(ABC):
    """State of an instrument that watches every step of a run."""

    @abstractmethod
    def see(self, flown: Flown, spiked: Sequence[bool], nonfinite: Sequence[bool]) -> None:
        """Take in a step; of the replicas that train, which have spiked, and which were not finite."""

    @abstractmethod
    def settle(self) -> None:
        """Compute what was put off; called at every log entry, so that it costs no step much."""

    @abstractmethod
    def events(self) -> Sequence[Event]:
        """Return what is kept so far, by replica and step."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""

    @abstractmethod
    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Instrument(ABC):
    """Measures something of a training step.

    Its tier states its cost: `cheap`, at most about two training steps; `expensive`, up to a hundred, for rare use.

    Args:
        schedule: Optimizer steps to measure at, besides a run's first weights and the last ones of undiverged replicas.
    """

    tier: ClassVar[Tier] = "cheap"

    looks_at: ClassVar[LooksAt] = "the training batch"
    """Part of a record that its figures depend on, besides the weights; no other part changes them."""

    sees_updates: ClassVar[bool] = False
    """Whether the loop calls `measure_update`, for which it copies all weights."""

    needs_gradients: ClassVar[bool] = False
    """Whether it looks at `Record.gradients`, for which the step copies all gradients before the mitigations act."""

    meanings: ClassVar[Mapping[str, Meaning]] = {}
    """Meaning of the tags that it alone logs, by family; that of all others is in `runs.tags`."""

    schedule: Schedule = field(default_factory=lambda: Every(interval=100))

    @property
    def spike_factor(self) -> float | None:
        """Factor of `Spikes` for the whole run; None leaves the default."""
        return None

    def watch(self, replicas: int, step_bytes: int, device: torch.device) -> Watcher | None:
        """Begin to watch every step of a run.

        Args:
            replicas: Networks trained side by side.
            step_bytes: Memory that the adjoints of one step take.
            device: Device of that memory.

        Returns:
            What keeps the steps; None from an instrument that watches none.

        Raises:
            ConfigError: It would keep more than the memory holds.
        """
        return None

    @abstractmethod
    def measure(self, record: Record) -> Measurements:
        """Measure; the tags begin with the instrument's name."""

    def measure_update(self, update: Update) -> Measurements:
        """Measure the optimizer's step that follows; none follows the last measurement of a run."""
        return {}


@dataclass(frozen=True, kw_only=True)
class ProbeInstrument(Instrument):
    """Measures on the first sequences of the probe, so that only the network changes.

    Args:
        sequences: Sequences of the probe to use, at least 1; all if it has fewer.
    """

    looks_at: ClassVar[LooksAt] = "the probe"

    sequences: int = 4

    def __post_init__(self) -> None:
        require_at_least("sequences", self.sequences, 1)

    def probed(self, record: Record) -> Batch:
        """Return the sequences to measure on."""
        return record.probe.sequences(0, self.sequences)
