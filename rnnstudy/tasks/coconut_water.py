"""The coconut-water review: an adjective near the start fixes the last word."""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import require_size
from rnnstudy.tasks.base import Batch, ClassificationTask, Facts, SyntheticTask, predict_next

ANSWERS = {
    "favorite": "best",
    "nastiest": "worst",
    "newest": "latest",
    "oldest": "earliest",
    "cheapest": "bargain",
    "sweetest": "dessert",
    "biggest": "largest",
    "strangest": "weirdest",
}
"""Cue to answer."""

PRODUCTS = (
    "coconut water",
    "oat milk",
    "green tea",
    "orange juice",
    "apple cider",
    "ginger ale",
    "iced coffee",
    "root beer",
)

DISTRACTORS = ("different", "other", "fancy", "cheap", "local", "imported", "organic", "expensive")

FILLERS = (
    "honestly",
    "really",
    "seriously",
    "not bad",
    "quite refreshing",
    "so nice",
    "it was cold",
    "it tasted fresh",
    "it looked fancy",
    "the bottle was small",
    "the shop was noisy",
    "the cap is green",
    "I bought it on monday",
    "the label is very colorful",
    "we drank it after lunch",
    "my sister ordered the newest snack",
    "my brother wants the cheapest soda",
    "the shop has the biggest window",
    "my neighbor told me the strangest story",
    "her oldest friend drinks it every day",
    "the waiter said it was his favorite",
    "my cousin baked the sweetest cake for us",
    "they had the nastiest weather of the year",
    "the delivery came late on a rainy evening",
)
"""Sentences of 1 to 8 words, three of each length; the longer ones hold cue adjectives that cue nothing."""

OPENING = "this is my"
MIDDLE = "that I have tried"
CLOSING = "I have tried a lot of"
ENDING = "and this is the"

CUE_STEP = 3
SHORTEST_LAG = 19
_LONG = 4
"""Filler is made of sentences of at least this many words, plus one of any length that fits the rest exactly."""


@dataclass(frozen=True, kw_only=True)
class CoconutWater(SyntheticTask, ClassificationTask):
    """Read a review and predict its last word: the cue adjective after "my", `lag` time steps earlier, fixes it.

    Example: this is my favorite coconut water that I have tried I have tried a lot of different coconut water and
    this is the -> best

    Eight equally likely cues have an answer each. Product, distractor adjective and fillers vary without effect, even
    fillers with cue adjectives. The filler between the two sentences fits any lag from 19. Batches are drawn fresh.

    >>> review = ("this is my favorite coconut water that I have tried I have tried a lot of different coconut water "
    ...           "and this is the")
    >>> task = CoconutWater(lag=19)
    >>> tokens = torch.tensor([task.vocabulary.index(word) for word in review.split()])
    >>> task.words(task.pose(tokens[:, None]).targets[0])
    ['best']

    References:
        A lesson's example of a long dependency; its network predicts the next word at every step (`next_word`).

    Args:
        lag: Time steps between the cue and the last word read, at least 19.
        target: Loss at the blank only ("answer"), or on the next word at every step ("next_word"); judged at the blank.
    """

    length_field = "lag"

    lag: int = SHORTEST_LAG
    target: Literal["answer", "next_word"] = "answer"

    def __post_init__(self) -> None:
        require_size("lag", self.lag, SHORTEST_LAG)

    @property
    @override
    def facts(self) -> Facts:
        return Facts(
            seq_len=CUE_STEP + self.lag + 1,
            encoding="words",
            input_names=self.vocabulary,
            output_names=self.vocabulary,
            chance_loss=math.log(len(ANSWERS)),
            chance_accuracy=1 / len(ANSWERS),
            memoryless_loss=math.log(len(ANSWERS)) if self.target == "answer" else None,
            informative_steps=(CUE_STEP,),
            answer_alone=self.target == "answer",
        )

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """All words, in alphabetical order; a token is a place in it."""
        phrases = [OPENING, MIDDLE, CLOSING, ENDING, *ANSWERS, *ANSWERS.values(), *PRODUCTS, *DISTRACTORS, *FILLERS]
        return tuple(sorted({word for phrase in phrases for word in phrase.split()}))

    def words(self, tokens: Tensor) -> list[str]:
        """Return the words of one sequence of token ids, shape (time,)."""
        return [self.vocabulary[token] for token in tokens.tolist()]

    @override
    def draw(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "time batch"]:
        tables = self._tables
        draw = torch.randint(tables.reviews, (batch_size,), generator=generator)
        filler = tables.draw_filler(self.lag - SHORTEST_LAG, batch_size, generator)
        return torch.cat([tables.before[draw], filler, tables.after[draw]], dim=1).T.contiguous()

    @override
    def pose(self, inputs: Int[Tensor, "time batch"]) -> Batch:
        answer, first = self._tables.answer_of[inputs[CUE_STEP]], len(inputs) - 1 if self.target == "answer" else 0
        return predict_next(inputs, answer, cue_step=CUE_STEP, first=first)

    @cached_property
    def _tables(self) -> "_Tables":
        return _Tables(self.vocabulary)


class _Tables:
    """Grammar as token ids.

    A review without its filler is one of `reviews`: cue, product and distractor; `before` and `after` hold its words on
    either side of the filler. `answer_of` maps every word that is a cue to its answer.
    """

    def __init__(self, vocabulary: tuple[str, ...]) -> None:
        place = {word: token for token, word in enumerate(vocabulary)}

        def tokens(phrase: str) -> list[int]:
            return [place[word] for word in phrase.split()]

        choices = list(itertools.product(ANSWERS, PRODUCTS, DISTRACTORS))
        self.reviews = len(choices)
        self.before = torch.tensor([tokens(f"{OPENING} {cue} {product} {MIDDLE}") for cue, product, _ in choices])
        self.after = torch.tensor([tokens(f"{CLOSING} {adj} {product} {ENDING}") for _, product, adj in choices])
        self.answer_of = torch.tensor([place[ANSWERS.get(word, word)] for word in vocabulary])

        sentences = sorted((tokens(filler) for filler in FILLERS), key=len)
        self.lengths = torch.tensor([len(sentence) for sentence in sentences])
        self.longest = int(self.lengths[-1])
        self.fillers = torch.tensor([sentence + [0] * (self.longest - len(sentence)) for sentence in sentences])
        self.counts = torch.bincount(self.lengths)
        self.firsts = self.counts.cumsum(0) - self.counts
        self.first_long = int(self.firsts[_LONG])

    def draw_filler(self, length: int, batch_size: int, generator: torch.Generator) -> Tensor:
        """Draw sentences with `length` words in total, shape (batch, length)."""
        if length == 0:
            return self.fillers.new_empty(batch_size, 0)
        most = -(-length // _LONG)
        chosen = torch.randint(self.first_long, len(self.fillers), (batch_size, most), generator=generator)
        share = torch.rand(batch_size, most, generator=generator)

        ends = self.lengths[chosen].cumsum(1)
        starts = ends - self.lengths[chosen]
        rest = (length - starts).clamp(0, self.longest)
        fitting = self.firsts[rest] + (share * self.counts[rest]).long()
        chosen = torch.where(ends > length, fitting, chosen).clamp(max=len(self.fillers) - 1)

        word = torch.arange(length).expand(batch_size, length).contiguous()
        sentence = torch.searchsorted(ends, word, right=True)
        return self.fillers[chosen.gather(1, sentence), word - starts.gather(1, sentence)]
