"""What an instrument is: it measures on a schedule, and never touches the run."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from rnnstudy.core.errors import require_at_least
from rnnstudy.core.schedule import Every, Schedule
from rnnstudy.gradients.norms import sequence_norms
from rnnstudy.models.base import Network
from rnnstudy.recurrence.base import Adjoint
from rnnstudy.tasks.base import Batch, Task
from rnnstudy.writers.base import Measurements

Tier = Literal["cheap", "dear"]

LooksAt = Literal["the training batch", "the probe", "the weights"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one training step shows to the instruments, before the weights change.

    Attributes:
        step: Optimizer steps done so far.
        task: What it is trained on.
        network: The network, not to be changed.
        batch: The training batch of this step, or, where their lengths vary, a fixed one of the greatest length.
        adjoints: Of each layer, state name to adjoint of the mean loss over this batch, as mitigations have edited it.
        probe: A batch that is the same throughout the run and not trained on, of the greatest length.
        raw_norm: Norm of the gradient of all parameters on the training batch, before the mitigations change it.
        clipped_norm: The same after all mitigations.
    """

    step: int
    task: Task
    network: Network
    batch: Batch
    adjoints: Sequence[dict[str, Adjoint]]
    probe: Batch
    raw_norm: Float[Tensor, " replica"]
    clipped_norm: Float[Tensor, " replica"]

    @cached_property
    def norms(self) -> list[dict[str, Float[Tensor, "time replica batch"]]]:
        """Of each layer, state name to ||dL/ds_t|| of every sequence, total and per sequence, in float64."""
        return [
            {state: sequence_norms(adjoint.total) for state, adjoint in adjoints.items()} for adjoints in self.adjoints
        ]


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one step of the optimizer did to the weights.

    Attributes:
        network: With the weights after it, not to be changed.
        before: Parameter name to its value before.
    """

    network: Network
    before: Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Instrument(ABC):
    """Measures something of a training step.

    What an instrument costs is stated by its tier: a cheap one no more than about two training steps, so that it can be
    asked at every probe; a dear one up to a hundred, so that it is to be asked rarely.

    Args:
        schedule: At which optimizer steps; the first weights of a run are measured in any case, and the last ones of
            replicas that do not diverge.
    """

    tier: ClassVar[Tier] = "cheap"

    looks_at: ClassVar[LooksAt] = "the training batch"
    """Part of a record that its figures depend on, besides the weights; no other part changes them."""

    sees_updates: ClassVar[bool] = False
    """Whether `measure_update` is to be called; a copy of all weights is made for it."""

    schedule: Schedule = field(default_factory=lambda: Every(interval=100))

    @abstractmethod
    def measure(self, record: Record) -> Measurements:
        """Measure; the tags begin with the instrument's name."""

    def measure_update(self, update: Update) -> Measurements:
        """Measure the optimizer's step that follows; none follows the last measurement of a run."""
        return {}


@dataclass(frozen=True, kw_only=True)
class ProbeInstrument(Instrument):
    """Measures on the first sequences of the probe, so that what changes is the network.

    Args:
        sequences: How many of the probe, at least 1; all if it has fewer.
    """

    looks_at: ClassVar[LooksAt] = "the probe"

    sequences: int = 4

    def __post_init__(self) -> None:
        require_at_least("sequences", self.sequences, 1)

    def probed(self, record: Record) -> Batch:
        """The sequences to look at."""
        return record.probe.sequences(0, self.sequences)
