"""A learning rate that falls along half a cosine."""

import math
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from rnnstudy.core.errors import require_between
from rnnstudy.schedules.base import LearningRateSchedule


@dataclass(frozen=True, kw_only=True)
class Cosine(LearningRateSchedule):
    """From 1 to `final` along half a cosine, reached at the end of the run.

    >>> [round(Cosine().factor(step, 4), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]

    References:
        Loshchilov & Hutter, SGDR, 2017 (arXiv:1608.03983), equation 5, without restarts.

    Args:
        final: Factor at the end, from 0 to 1; 1 for no decay.
    """

    off: ClassVar[dict[str, float]] = {"final": 1.0}
    felt: ClassVar[dict[str, float]] = {"final": 0.1}

    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_between("final", self.final, 0, 1)

    @override
    def decay(self, step: int, num_steps: int) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(1, step / num_steps))) / 2
