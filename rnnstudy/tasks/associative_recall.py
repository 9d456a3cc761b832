"""Multi-query associative recall."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, require_above, require_between, require_size
from rnnstudy.tasks.base import Batch, ClassificationTask, Facts, SyntheticTask

BLANK = 0


@dataclass(frozen=True, kw_only=True)
class AssociativeRecall(SyntheticTask, ClassificationTask):
    """Read pairs of key and value; later, wherever a key comes again, name its value (MQAR).

    Example (2 pairs): k3 v5 k1 v2 k1 . . . k3 . -> v2 at k1, v5 at k3
    >>> task = AssociativeRecall(seq_len=10, num_pairs=2, vocab_size=12)
    >>> names = task.facts.input_names
    >>> tokens = [names.index(name) for name in "k3 v5 k1 v2 k1 . . . k3 .".split()]
    >>> batch = task.pose(torch.tensor(tokens)[:, None])
    >>> [names[target] for target in batch.targets[batch.counted]]
    ['v2', 'v5']

    Keys are distinct, and so are values. Every key is asked for once, at an even distance 2g from the end of the pairs,
    drawn without replacement with weight (g + 1)^(power - 1). Small powers ask soon, on average for the first pairs
    first. Pairs and questions are informative; loss and accuracy are those of the questions alone. The other time steps
    ask nothing, being blank or random values (`filler=values`); the published filler may be any token. Solved: 99 % of
    the values right; the paper names no criterion. Batches are drawn fresh (paper: 100 000 fixed sequences).

    References:
        Arora et al., Zoology, 2023 (arXiv:2312.04927), definition of MQAR; code: a vocabulary of 8 192, power 0.01.

    Args:
        seq_len: Time steps, at least 4 * num_pairs.
        num_pairs: Pairs to remember, at least 1.
        vocab_size: Tokens: a blank, keys up to the middle, values from there on; at least 2 * num_pairs + 2.
        power: Lateness of the questions, above 0 and at most 10; 1 spreads them evenly.
        filler: Content of the time steps that ask nothing.
    """

    seq_len: int = 64
    num_pairs: int = 4
    vocab_size: int = 64
    power: float = 0.01
    filler: Literal["blank", "values"] = "blank"

    def __post_init__(self) -> None:
        require_size("num_pairs", self.num_pairs, 1)
        require_above("power", self.power, 0)
        require_between("power", self.power, 0, 10)
        require_size("vocab_size", self.vocab_size, 2 * self.num_pairs + 2)
        if self.seq_len < 4 * self.num_pairs:
            raise ConfigError(
                f"seq_len must be at least 4 * num_pairs, {4 * self.num_pairs}, to hold the pairs and a question for "
                f"each, got {self.seq_len}."
            )

    @property
    @override
    def facts(self) -> Facts:
        keys, values = self._first_value - 1, self.vocab_size - self._first_value
        names = (".", *(f"k{key + 1}" for key in range(keys)), *(f"v{value + 1}" for value in range(values)))
        start = 2 * self.num_pairs
        return Facts(
            seq_len=self.seq_len,
            encoding="words",
            input_names=names,
            output_names=names,
            chance_loss=math.log(values),
            chance_accuracy=1 / values,
            memoryless_loss=math.log(values),
            informative_steps=(*range(start), *range(start, start + 2 * len(self._gap_weights), 2)),
            answer_at_end=False,
        )

    @property
    def _first_value(self) -> int:
        return self.vocab_size // 2

    @cached_property
    def _gap_weights(self) -> Tensor:
        """Return the weight of a question at each even distance from the end of the pairs."""
        gaps = torch.arange(1, -(-(self.seq_len - 2 * self.num_pairs) // 2) + 1, dtype=torch.float64)
        return gaps ** (self.power - 1)

    @override
    def draw(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "time batch"]:
        pairs, start = self.num_pairs, 2 * self.num_pairs
        first = self._first_value
        keys = 1 + _draw_distinct(first - 1, (batch_size, pairs), generator)
        values = first + _draw_distinct(self.vocab_size - first, (batch_size, pairs), generator)
        gaps = torch.multinomial(self._gap_weights.expand(batch_size, -1), pairs, generator=generator)
        inputs = torch.full((batch_size, self.seq_len), BLANK)
        if self.filler == "values":
            inputs = torch.randint(self._first_value, self.vocab_size, (batch_size, self.seq_len), generator=generator)
        inputs[:, :start:2], inputs[:, 1:start:2] = keys, values
        inputs.scatter_(1, start + 2 * gaps, keys)
        return inputs.T.contiguous()

    @override
    def pose(self, inputs: Int[Tensor, "time batch"]) -> Batch:
        start = 2 * self.num_pairs
        keys, values, rest = inputs[:start:2], inputs[1:start:2], inputs[start:]
        # Pair that each later token asks for; keys differ, so it is at most one.
        asks = rest[:, None] == keys
        asked = asks.any(1)
        informative = torch.cat([torch.ones_like(inputs[:start], dtype=torch.bool), asked])
        return Batch(
            inputs=inputs,
            loss_steps=torch.arange(start, len(inputs), 2),
            targets=torch.where(asks, values, 0).sum(1)[::2],
            counted=asked[::2],
            answer=asked[::2],
            informative=informative,
        )


def _draw_distinct(number: int, shape: tuple[int, int], generator: torch.Generator) -> Int[Tensor, "batch pair"]:
    """Draw numbers below `number`, those of a row all different and in random order."""
    rows, count = shape
    if number < 2 * count**2:
        return torch.rand(rows, number, generator=generator).topk(count).indices
    # A few numbers drawn from so many mostly differ; rows with repetitions are drawn again.
    drawn = torch.randint(number, shape, generator=generator)
    while (repeats := (drawn.sort(1).values.diff(dim=1) == 0).any(1)).any():
        drawn[repeats] = torch.randint(number, (int(repeats.sum()), count), generator=generator)
    return drawn
