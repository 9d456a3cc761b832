"""What copy memory and memorization share: symbols, a pause, a cue, and the symbols again."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_size
from rnnstudy.tasks.base import Batch, ClassificationTask, Criterion, Facts, SyntheticTask


@dataclass(frozen=True, kw_only=True)
class RecallTask(SyntheticTask, ClassificationTask):
    """Symbols are shown, then blanks, then a cue; from the cue on they are to be put out, and blanks before.

    A sequence has delay + 2 * num_symbols time steps. The loss is over all of them, answered are the last num_symbols
    ones (or those after the cue, where that is placed at random).

    Args:
        delay: Time steps that lie between the last symbol shown and the first to be put out, at least 1.
    """

    length_field = "delay"

    delay: int = 100

    def __post_init__(self) -> None:
        require_size("delay", self.delay, 1)

    @property
    @abstractmethod
    def shown(self) -> int:
        """How many symbols are shown."""

    @property
    @abstractmethod
    def choices(self) -> int:
        """How many different symbols there are."""

    @property
    @abstractmethod
    def cue_lead(self) -> int:
        """Time steps from the cue to the first symbol put out, 0 or 1."""

    @property
    @abstractmethod
    def cue_places(self) -> range:
        """The time steps at which the cue can be, equally likely."""

    @property
    @override
    def facts(self) -> Facts:
        symbols = tuple(str(symbol) for symbol in range(self.choices))
        # Where the cue is known in advance, it says nothing.
        cues = tuple(self.cue_places) if len(self.cue_places) > 1 else ()
        return Facts(
            seq_len=self._seq_len,
            encoding="symbols",
            input_names=(*symbols, ".", ">"),
            output_names=(*symbols, "."),
            chance_loss=math.log(self.choices),
            chance_accuracy=1 / self.choices,
            memoryless_loss=self._memoryless_loss,
            solved=Criterion(metric="accuracy", threshold=0.99, direction="at_least"),
            informative_steps=(*range(self.shown), *cues),
        )

    @property
    def _seq_len(self) -> int:
        return self.delay + 2 * self.shown

    @cached_property
    def _memoryless_loss(self) -> float:
        """Blanks, and where a symbol may be due, all symbols alike, weighted by how likely one is due there."""
        places, total = self.cue_places, 0.0
        for time_step in range(self.shown, self._seq_len):
            # A symbol is due if the cue was at one of these places.
            first = max(places.start, time_step - self.cue_lead - self.shown + 1)
            last = min(places.stop - 1, time_step - self.cue_lead)
            due = max(last - first + 1, 0)
            # A cue is an input that says by itself what is due; anywhere else the input is a blank.
            shows_cue = time_step in places
            due_at_cue = shows_cue and first <= time_step <= last
            blank = 1 - shows_cue / len(places)
            total += due_at_cue / len(places) * math.log(self.choices)
            if blank > 0:
                share = (due - due_at_cue) / len(places) / blank
                total += blank * (_entropy(share) + share * math.log(self.choices))
        return total / self._seq_len

    @override
    def draw(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "time batch"]:
        inputs = torch.full((self._seq_len, batch_size), self.choices)
        inputs[: self.shown] = torch.randint(self.choices, (self.shown, batch_size), generator=generator)
        places = self.cue_places
        if len(places) > 1:
            cue = torch.randint(places.start, places.stop, (1, batch_size), generator=generator)
            inputs.scatter_(0, cue, self.choices + 1)
        else:
            inputs[places.start] = self.choices + 1
        return inputs

    @override
    def pose(self, inputs: Int[Tensor, "time batch"]) -> Batch:
        shown, is_cue = self.shown, inputs == self.choices + 1
        first = is_cue.int().argmax(0) + self.cue_lead
        due = first + torch.arange(shown)[:, None]
        informative = torch.zeros_like(is_cue)
        informative[:shown] = True
        if len(self.cue_places) > 1:
            informative |= is_cue
        return Batch(
            inputs=inputs,
            loss_steps=torch.arange(len(inputs)),
            targets=torch.full_like(inputs, self.choices).scatter_(0, due, inputs[:shown]),
            counted=torch.ones_like(is_cue),
            answer=torch.zeros_like(is_cue).scatter_(0, due, True),
            informative=informative,
        )


def _entropy(share: float) -> float:
    """Of a yes or no, in nats."""
    parts: Sequence[float] = (share, 1 - share)
    return -sum(part * math.log(part) for part in parts if part > 0)
