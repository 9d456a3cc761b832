"""Delayed recall: one cue among distractors."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_between, require_size
from rnnstudy.tasks.base import Batch, ClassificationTask, Facts, SyntheticTask, ask_at_end


@dataclass(frozen=True, kw_only=True)
class DelayedRecall(SyntheticTask, ClassificationTask):
    """Name at the end the one symbol that was marked, `lag` time steps before; all others distract.

    Example (lag 5, lead 2): c a d! b b d a c -> d
    >>> task = DelayedRecall(lag=5, lead=2)
    >>> symbols = [task.facts.input_names.index(symbol) for symbol in "c a d! b b d a c".split()]
    >>> task.facts.output_names[int(task.pose(torch.tensor(symbols)[:, None]).targets)]
    'd'

    Cue and distractors are uniform, independent and of the same symbols; a marked symbol is a token of its own. One cue
    at one lag is the plainest test of how far back a network can learn. Solved: 99 % correct. Batches are drawn fresh.

    References:
        Defined here. Related: Hochreiter & Schmidhuber, Long short-term memory, 1997, section 5.2 (noise-free, long
        lags); with many cues, associative recall (Arora et al., 2023, arXiv:2312.04927).

    Args:
        lag: Time steps between the cue and the last symbol, at least 1.
        lead: Distractors before the cue, at least 0.
        num_symbols: Different symbols, 2 to 26.
    """

    length_field = "lag"

    lag: int = 50
    lead: int = 10
    num_symbols: int = 8

    def __post_init__(self) -> None:
        require_size("lag", self.lag, 1)
        require_size("lead", self.lead, 0)
        require_between("num_symbols", self.num_symbols, 2, 26)

    @property
    @override
    def facts(self) -> Facts:
        names = tuple(chr(ord("a") + symbol) for symbol in range(self.num_symbols))
        return Facts(
            seq_len=self.lead + self.lag + 1,
            encoding="symbols",
            input_names=(*names, *(f"{name}!" for name in names)),
            output_names=names,
            chance_loss=math.log(self.num_symbols),
            chance_accuracy=1 / self.num_symbols,
            memoryless_loss=math.log(self.num_symbols),
            informative_steps=(self.lead,),
        )

    @override
    def draw(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "time batch"]:
        inputs = torch.randint(self.num_symbols, (self.lead + self.lag + 1, batch_size), generator=generator)
        inputs[self.lead] += self.num_symbols
        return inputs

    @override
    def pose(self, inputs: Int[Tensor, "time batch"]) -> Batch:
        return ask_at_end(inputs, inputs[self.lead] - self.num_symbols, torch.arange(len(inputs)) == self.lead)
