"""Shared parts of copy memory and memorization: symbols, a pause, a cue, and the symbols again."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_size
from rnnstudy.tasks.base import Batch, ClassificationTask, Facts, SyntheticTask


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Places of symbols and cue in a sequence.

    Attributes:
        shown: Number of symbols shown.
        choices: Number of different symbols.
        cue_places: Time steps at which the cue can be, equally likely.
        cue_lead: Time steps from the cue to the first symbol put out, 0 or 1.
    """

    shown: int
    choices: int
    cue_places: range
    cue_lead: int


@dataclass(frozen=True, kw_only=True)
class RecallTask(SyntheticTask, ClassificationTask):
    """Symbols are shown, then blanks, then a cue; they are put out from the cue on, and blanks before.

    A sequence has delay + 2 * num_symbols time steps, with `delay` (at least 1) between the last symbol shown and the
    first put out. All enter the loss; the last num_symbols, or those after a randomly placed cue, are the answer.
    """

    length_field = "delay"

    delay: int = 100

    def __post_init__(self) -> None:
        require_size("delay", self.delay, 1)

    @property
    @abstractmethod
    def layout(self) -> Layout:
        """Places of symbols and cue."""

    @property
    @override
    def facts(self) -> Facts:
        layout = self.layout
        symbols = tuple(str(symbol) for symbol in range(layout.choices))
        # A cue known in advance carries no information.
        cues = tuple(layout.cue_places) if len(layout.cue_places) > 1 else ()
        return Facts(
            seq_len=self._seq_len,
            encoding="symbols",
            input_names=(*symbols, ".", ">"),
            output_names=(*symbols, "."),
            chance_loss=math.log(layout.choices),
            chance_accuracy=1 / layout.choices,
            memoryless_loss=self._memoryless_loss,
            informative_steps=(*range(layout.shown), *cues),
            answer_alone=False,
            answer_at_end=len(layout.cue_places) == 1,
        )

    @property
    def _seq_len(self) -> int:
        return self.delay + 2 * self.layout.shown

    @cached_property
    def _memoryless_loss(self) -> float:
        """Mean entropy of blanks and, where a symbol may be due, of all symbols alike, by how likely one is due."""
        layout, total = self.layout, 0.0
        places, each_symbol = layout.cue_places, math.log(layout.choices)
        for time_step in range(layout.shown, self._seq_len):
            # A symbol is due if the cue was at one of these places.
            first = max(places.start, time_step - layout.cue_lead - layout.shown + 1)
            last = min(places.stop - 1, time_step - layout.cue_lead)
            due = max(last - first + 1, 0)
            # A cue shows by itself what is due; anywhere else the input is a blank.
            shows_cue = time_step in places
            due_at_cue = shows_cue and first <= time_step <= last
            blank = 1 - shows_cue / len(places)
            total += due_at_cue / len(places) * each_symbol
            if blank > 0:
                share = (due - due_at_cue) / len(places) / blank
                total += blank * (_entropy(share) + share * each_symbol)
        return total / self._seq_len

    @override
    def draw(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "time batch"]:
        shown, choices, places = self.layout.shown, self.layout.choices, self.layout.cue_places
        inputs = torch.full((self._seq_len, batch_size), choices)
        inputs[:shown] = torch.randint(choices, (shown, batch_size), generator=generator)
        if len(places) > 1:
            cue = torch.randint(places.start, places.stop, (1, batch_size), generator=generator)
            inputs.scatter_(0, cue, choices + 1)
        else:
            inputs[places.start] = choices + 1
        return inputs

    @override
    def pose(self, inputs: Int[Tensor, "time batch"]) -> Batch:
        shown, choices = self.layout.shown, self.layout.choices
        is_cue = inputs == choices + 1
        first = is_cue.int().argmax(0) + self.layout.cue_lead
        due = first + torch.arange(shown)[:, None]
        informative = torch.zeros_like(is_cue)
        informative[:shown] = True
        if len(self.layout.cue_places) > 1:
            informative |= is_cue
        return Batch(
            inputs=inputs,
            loss_steps=torch.arange(len(inputs)),
            targets=torch.full_like(inputs, choices).scatter_(0, due, inputs[:shown]),
            counted=torch.ones_like(is_cue),
            answer=torch.zeros_like(is_cue).scatter_(0, due, True),
            informative=informative,
        )


def _entropy(share: float) -> float:
    """Compute the entropy of a yes or no, in nats."""
    return -sum(part * math.log(part) for part in (share, 1 - share) if part > 0)
