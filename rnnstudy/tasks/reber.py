"""The embedded Reber grammar."""

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_size
from rnnstudy.tasks.base import Batch, ClassificationTask, Facts, SyntheticTask, predict_next

SYMBOLS = "BTPSXVE"

GRAMMAR = (
    (("T", 1), ("P", 2)),
    (("S", 1), ("X", 3)),
    (("T", 2), ("V", 4)),
    (("X", 2), ("S", 5)),
    (("P", 3), ("V", 5)),
)
"""The two symbols that can follow each place after the first B, and where they lead; place 5 ends with E."""

LAST = len(GRAMMAR)
EDGES = 4
"""Symbols read around the walk through the grammar: B, T or P, B before it, and E after it."""


@dataclass(frozen=True, kw_only=True)
class Reber(SyntheticTask, ClassificationTask):
    """Predict the next symbol of an embedded Reber string; the last one to predict is the second one read.

    Example: B T B P V V E -> T B P V V E T
    >>> task = Reber(seq_len=7)
    >>> batch = task.pose(torch.tensor([SYMBOLS.index(symbol) for symbol in "BTBPVVE"])[:, None])
    >>> "".join(SYMBOLS[target] for target in batch.targets[:, 0])
    'TBPVVET'

    A string is B, T or P, a string of the Reber grammar (B ... E), the same T or P again, and E; the last E, always the
    same, is not asked for. Inside the grammar each of two symbols follows with probability 1/2. Only strings of exactly
    `seq_len` symbols read are drawn, in their relative frequencies, so the lag from T or P to its repetition is always
    seq_len - 2. The paper's strings have any length, mostly short, so its lags are short.

    Cross entropy at every step, judged at the last. Solved: 99 % of the second T or P right; the paper asks for every
    possible successor, at every step, of 256 test strings. Batches are drawn fresh.

    References:
        Cleeremans, Servan-Schreiber & McClelland, Finite state automata and simple recurrent networks, 1989.
        Hochreiter & Schmidhuber, Long short-term memory, 1997, section 5.1: the embedded grammar.

    Args:
        seq_len: Symbols read, at least 7.
    """

    seq_len: int = 20

    def __post_init__(self) -> None:
        require_size("seq_len", self.seq_len, 7)

    @property
    @override
    def facts(self) -> Facts:
        return Facts(
            seq_len=self.seq_len,
            encoding="symbols",
            input_names=tuple(SYMBOLS),
            output_names=tuple(SYMBOLS),
            chance_loss=math.log(2),
            chance_accuracy=0.5,
            memoryless_loss=self._memoryless_loss,
            informative_steps=(1,),
            answer_alone=False,
        )

    @property
    def _walk(self) -> int:
        """Symbols of the walk through the grammar."""
        return self.seq_len - EDGES

    @cached_property
    def _first_share(self) -> Tensor:
        """Probability of the first of the two symbols, shape (step of the walk, place), given that it must end."""
        # Likelihood that a walk from each place ends after exactly this many more steps.
        reach = torch.zeros(self._walk + 1, LAST + 1, dtype=torch.float64)
        reach[0, LAST] = 1.0
        first, second = (torch.tensor([edges[which][1] for edges in GRAMMAR]) for which in (0, 1))
        for left in range(1, self._walk + 1):
            reach[left, :LAST] = reach[left - 1][first] + reach[left - 1][second]
            # Only ratios within a row matter; scaling to near 1 works for any length.
            reach[left] /= reach[left].max()
        before = reach[torch.arange(self._walk - 1, -1, -1)]
        return (before[:, first] / (before[:, first] + before[:, second])).nan_to_num(0.0)

    @cached_property
    def _memoryless_loss(self) -> float:
        """Mean over the steps of the next symbol's entropy given the present one."""
        pairs: defaultdict[tuple[int, str, str], float] = defaultdict(float)
        # The place in the grammar, and the symbol that led there.
        states = {(0, "B"): 1.0}
        for step, shares in enumerate(self._first_share.tolist()):
            following: defaultdict[tuple[int, str], float] = defaultdict(float)
            for (place, symbol), probability in states.items():
                for (after, there), share in zip(GRAMMAR[place], (shares[place], 1 - shares[place]), strict=True):
                    if share:
                        pairs[step, symbol, after] += probability * share
                        following[there, after] += probability * share
            states = following
        seen: defaultdict[tuple[int, str], float] = defaultdict(float)
        for (step, symbol, _), probability in pairs.items():
            seen[step, symbol] += probability
        # Pairs so rare that their probability rounds to 0 add nothing.
        walk = -sum(p * math.log(p / seen[step, symbol]) for (step, symbol, _), p in pairs.items() if p > 0)
        # T or P is open at the first step, and at the last one.
        return (2 * math.log(2) + walk) / self.seq_len

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor]:
        """Symbols and places that follow each place, if the first or the second symbol is taken."""
        symbols = torch.tensor([[SYMBOLS.index(symbol) for symbol, _ in edges] for edges in GRAMMAR])
        return symbols, torch.tensor([[place for _, place in edges] for edges in GRAMMAR])

    @override
    def draw(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "time batch"]:
        symbols, places = self._tables
        outer = SYMBOLS.index("T") + torch.randint(2, (batch_size,), generator=generator)
        chance = torch.rand(self._walk, batch_size, 1, generator=generator, dtype=torch.float64)
        # The symbol that would be taken at every place; the walk then follows these.
        which = (chance >= self._first_share[:, None]).long()
        steps = torch.arange(LAST).expand_as(which)
        after, there = symbols[steps, which], places[steps, which].clamp(max=LAST - 1)

        inputs = torch.full((self.seq_len, batch_size), SYMBOLS.index("B"))
        inputs[1], inputs[-1] = outer, SYMBOLS.index("E")
        place = torch.zeros(batch_size, 1, dtype=torch.long)
        walked = []
        for next_place in there:
            walked.append(place)
            place = next_place.gather(1, place)
        torch.gather(after, 2, torch.stack(walked), out=inputs[3:-1].unsqueeze(-1))
        return inputs

    @override
    def pose(self, inputs: Int[Tensor, "time batch"]) -> Batch:
        return predict_next(inputs, inputs[1], cue_step=1, first=0)
