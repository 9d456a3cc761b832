"""The temporal order problem."""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_size
from rnnstudy.tasks.base import Batch, ClassificationTask, Facts, SyntheticTask, ask_at_end

NOISE = ("c", "d", "e", "f")
STARTS = {2: (0.1, 0.5), 3: (0.1, 0.3, 0.6)}
"""Starts of the symbols' windows, as shares of the length; each window is a tenth of it."""


@dataclass(frozen=True, kw_only=True)
class TemporalOrder(SyntheticTask, ClassificationTask):
    """Two (or three) of the symbols are A or B, the rest is noise; tell at the end which they were, in order.

    Example: c A e d f d B c c e -> A then B -> AB
    >>> task = TemporalOrder(seq_len=10)
    >>> symbols = [task.facts.input_names.index(symbol) for symbol in "cAedfdBcce"]
    >>> task.facts.output_names[int(task.pose(torch.tensor(symbols)[:, None]).targets)]
    'AB'

    Two symbols: in the second and sixth tenth of the sequence, four classes. Three: in the second, fourth and seventh,
    eight classes. Noise is uniform over four other symbols. Solved: 99 % correct (the paper asks for less than 1 % of
    10 000 fresh sequences wrong). The 1997 task marks the ends too, and has other windows. Batches are drawn fresh.

    References:
        Hochreiter & Schmidhuber, Long short-term memory, 1997, section 5.6: the task.
        Pascanu, Mikolov & Bengio, 2013 (arXiv:1211.5063), section 4.1 and the authors' code: this variant.

    Args:
        seq_len: Time steps, at least 10.
        num_symbols: Symbols to tell, 2 or 3.
    """

    seq_len: int = 50
    num_symbols: Literal[2, 3] = 2

    def __post_init__(self) -> None:
        require_size("seq_len", self.seq_len, 10)

    @property
    @override
    def facts(self) -> Facts:
        classes = 2**self.num_symbols
        return Facts(
            seq_len=self.seq_len,
            encoding="symbols",
            input_names=("A", "B", *NOISE),
            output_names=tuple("".join(names) for names in itertools.product("AB", repeat=self.num_symbols)),
            chance_loss=math.log(classes),
            chance_accuracy=1 / classes,
            memoryless_loss=math.log(classes),
            informative_steps=tuple(step for window in self._windows() for step in window),
        )

    def _windows(self) -> list[range]:
        tenth = self.seq_len // 10
        starts = [int(self.seq_len * share) for share in STARTS[self.num_symbols]]
        return [range(start, start + tenth) for start in starts]

    @override
    def draw(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "time batch"]:
        inputs = torch.randint(2, 2 + len(NOISE), (self.seq_len, batch_size), generator=generator)
        for window in self._windows():
            place = torch.randint(window.start, window.stop, (1, batch_size), generator=generator)
            inputs.scatter_(0, place, torch.randint(2, (1, batch_size), generator=generator))
        return inputs

    @override
    def pose(self, inputs: Int[Tensor, "time batch"]) -> Batch:
        told = inputs < 2
        # The first symbol is the most significant digit.
        weight = torch.where(told, 2 ** (self.num_symbols - told.cumsum(0)), 0)
        return ask_at_end(inputs, (weight * inputs).sum(0), told)
