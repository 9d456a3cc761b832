"""Shared parts of adding, multiplication and xor: two marked entries of a sequence, combined at its end."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, require_size
from rnnstudy.tasks.base import Batch, SyntheticTask, ask_at_end

Variant = Literal["half", "hochreiter", "pascanu"]

TOLERANCE: dict[Variant, float] = {"half": 0.04, "hochreiter": 0.04, "pascanu": 0.2}
"""Absolute error below which a value is correct, as published; half, which has none of its own, uses that of 1997."""

SHORTEST: dict[Variant, int] = {"half": 2, "hochreiter": 11, "pascanu": 10}
"""Least number of time steps of each variant."""


@dataclass(frozen=True, kw_only=True)
class MarkedPairTask(SyntheticTask):
    """Every time step has a value and a marker; two markers are 1, at the places that `Adding` gives per variant."""

    seq_len: int = 100
    variant: Variant = "half"

    neutral: ClassVar[float]
    """Value of the very first step where hochreiter marks it."""

    def __post_init__(self) -> None:
        if self.seq_len < SHORTEST[self.variant]:
            least = f"{SHORTEST[self.variant]} with variant={self.variant}"
            raise ConfigError(f"seq_len must be at least {least}, got {self.seq_len}.")
        require_size("seq_len", self.seq_len, 2)

    @abstractmethod
    def draw_values(self, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "time batch"]:
        """Draw the value of every time step."""

    @abstractmethod
    def combine(self, one: Float[Tensor, " batch"], other: Float[Tensor, " batch"]) -> Tensor:
        """Compute the target from the two marked values."""

    @override
    def draw(self, batch_size: int, generator: torch.Generator) -> Float[Tensor, "time batch 2"]:
        inputs = torch.zeros(self.seq_len, batch_size, 2)
        values, markers = inputs.unbind(-1)
        values.copy_(self.draw_values((self.seq_len, batch_size), generator))
        places = self._places(batch_size, generator)
        if self.variant == "hochreiter":
            markers[0] = markers[-1] = -1.0
            values[0].masked_fill_((places == 0).any(0), self.neutral)
        markers.scatter_(0, places, 1.0)
        return inputs

    def _places(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "2 batch"]:
        """Draw the two marked time steps."""
        drawn = [torch.randint(low, high, (batch_size,), generator=generator) for low, high in self._windows()]
        places = torch.stack(drawn)
        if self.variant == "hochreiter":
            # The second is an index into the steps other than the first.
            places[1] += places[1] >= places[0]
        return places

    def _windows(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return where the two markers are drawn: the first step, and the one after the last."""
        length = self.seq_len
        if self.variant == "half":
            return (0, length // 2), (length // 2, length)
        if self.variant == "hochreiter":
            return (0, 10), (0, length // 2 - 1)
        tenth = length // 10
        return (0, tenth), (tenth, tenth + int(length * 0.4))

    @override
    def pose(self, inputs: Float[Tensor, "time batch 2"]) -> Batch:
        values, markers = inputs.unbind(-1)
        marked = markers == 1
        one = values.gather(0, marked.int().argmax(0, keepdim=True))[0]
        other = values.flip(0).gather(0, marked.flip(0).int().argmax(0, keepdim=True))[0]
        return ask_at_end(inputs, self.combine(one, other), marked)

    @property
    def tolerance(self) -> float:
        """Absolute error below which a value is correct."""
        return TOLERANCE[self.variant]

    @property
    def informative_steps(self) -> tuple[int, ...]:
        """Time steps that can be marked."""
        _, (_, end) = self._windows()
        return tuple(range(max(end + 1, 10) if self.variant == "hochreiter" else end))

    @property
    def neutral_share(self) -> float:
        """Share of sequences in which one of the two values is `neutral`."""
        if self.variant != "hochreiter":
            return 0.0
        return 0.1 + 0.9 / (self.seq_len // 2 - 1)

    @property
    def last_share(self) -> float:
        """Share of sequences in which the last time step is marked."""
        return 1 / (self.seq_len - self.seq_len // 2) if self.variant == "half" else 0.0
