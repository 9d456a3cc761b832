"""The random permutation problem."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_size
from rnnstudy.tasks.base import Batch, ClassificationTask, Facts, SyntheticTask, predict_next


@dataclass(frozen=True, kw_only=True)
class RandomPermutation(SyntheticTask, ClassificationTask):
    """Predict the next symbol of a random sequence; the last one to predict is the first one again.

    Example (6 symbols): 1 4 2 5 5 -> 4 2 5 5 1
    >>> task = RandomPermutation(seq_len=5, num_symbols=6)
    >>> task.pose(torch.tensor([1, 4, 2, 5, 5])[:, None]).targets[:, 0].tolist()
    [4, 2, 5, 5, 1]

    The first symbol is 0 or 1; the others are uniform over the rest of the alphabet, with replacement as in Pascanu et
    al.'s code (so not a permutation). next_symbol: cross entropy at every step, all but the last unpredictable; last:
    at the last step alone, as in that code. Both are judged at the last step. Solved: 99 % of the last symbols right
    (the papers ask for less than 1 % wrong). Batches are drawn fresh.

    References:
        Hochreiter & Schmidhuber, Long short-term memory, 1997, section 5.2: the task's ancestor.
        Martens & Sutskever, Learning recurrent neural networks with Hessian-free optimization, 2011, section 4.1.
        Pascanu, Mikolov & Bengio, 2013 (arXiv:1211.5063), supplementary material and the authors' code: 100 symbols.

    Args:
        seq_len: Symbols read, at least 2.
        num_symbols: Different symbols, at least 3.
        variant: Steps that have a loss.
    """

    seq_len: int = 100
    num_symbols: int = 100
    variant: Literal["next_symbol", "last"] = "next_symbol"

    def __post_init__(self) -> None:
        require_size("seq_len", self.seq_len, 2)
        require_size("num_symbols", self.num_symbols, 3)

    @property
    @override
    def facts(self) -> Facts:
        names = tuple(str(symbol) for symbol in range(self.num_symbols))
        unpredictable = (self.seq_len - 1) * math.log(self.num_symbols - 2)
        memoryless = (unpredictable + math.log(2)) / self.seq_len
        return Facts(
            seq_len=self.seq_len,
            encoding="symbols",
            input_names=names,
            output_names=names,
            chance_loss=math.log(2),
            chance_accuracy=0.5,
            memoryless_loss=memoryless if self.variant == "next_symbol" else math.log(2),
            informative_steps=(0,),
            answer_alone=self.variant == "last",
        )

    @override
    def draw(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "time batch"]:
        inputs = torch.randint(2, self.num_symbols, (self.seq_len, batch_size), generator=generator)
        inputs[0] = torch.randint(2, (batch_size,), generator=generator)
        return inputs

    @override
    def pose(self, inputs: Int[Tensor, "time batch"]) -> Batch:
        first = len(inputs) - 1 if self.variant == "last" else 0
        return predict_next(inputs, inputs[0], cue_step=0, first=first)
