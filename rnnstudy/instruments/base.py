"""What an instrument is: it measures on a schedule, and never touches the run."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn

from rnnstudy.core.schedule import Every, Schedule
from rnnstudy.recurrence.base import Adjoint
from rnnstudy.tasks.base import Batch
from rnnstudy.writers.base import Measurements


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one training step shows to the instruments, before the weights change.

    Attributes:
        step: Optimizer steps done so far.
        network: The network, not to be changed.
        batch: The training batch of this step, or, where their lengths vary, a fixed one of the greatest length.
        adjoints: Of each layer, state name to adjoint of the mean loss over this batch.
        raw_norm: Norm of the gradient of all parameters on the training batch, before the mitigations change it.
        clipped_norm: The same after all mitigations.
    """

    step: int
    network: nn.Module
    batch: Batch
    adjoints: Sequence[dict[str, Adjoint]]
    raw_norm: Float[Tensor, " replica"]
    clipped_norm: Float[Tensor, " replica"]


@dataclass(frozen=True, kw_only=True)
class Instrument(ABC):
    """Measures something of a training step.

    Args:
        schedule: At which optimizer steps; the first and the last weights of a run are measured in any case.
    """

    schedule: Schedule = field(default_factory=lambda: Every(interval=100))

    @abstractmethod
    def measure(self, record: Record) -> Measurements:
        """Measure; the tags begin with the instrument's name."""
