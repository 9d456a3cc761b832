"""Next-character or next-word prediction on a text of the user's own."""

import copy
import hashlib
import re
import stat
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, require_between, require_size
from rnnstudy.tasks.base import Batch, ClassificationTask, Facts

Unit = Literal["character", "word"]

UNKNOWN = "<unknown>"
WORD = re.compile(r"\w+|[^\w\s]")
"""Pattern of a word: letters, digits and underscores that stand together, or one punctuation mark."""

LEAST_SHARE, MOST_SHARE = 0.01, 0.5


@dataclass(frozen=True, kw_only=True)
class Text(ClassificationTask):
    """Predict, at every time step, the next character (or word) of a text.

    Example: h e l l -> e l l o
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "text.txt"
    ...     _ = file.write_text("hello " * 20)
    ...     task = Text(path=str(file), seq_len=4)
    >>> batch = task.sample(100, torch.Generator().manual_seed(0))
    >>> spelt = lambda tokens: "".join(task.vocabulary[token] for token in tokens)
    >>> dict(zip(map(spelt, batch.inputs.T), map(spelt, batch.targets.T)))["hell"]
    'ello'

    The last part of the file is kept apart for evaluation.
    consecutive: training reads the rest as usual in truncated backpropagation through time: every sequence of a batch
    starts where that of the previous batch ended, with the state reached there, and the gradient stops at the start of
    the window. (Reading begins at random places and wraps around at the end of the part, also within a window.)
    independent: every window is at a random place, from state zero; evaluation always reads so.

    A word is letters, digits and underscores that stand together, or one punctuation mark; a line end is one character.
    The vocabulary is the whole file's, most frequent first; beyond `max_vocabulary`, the rest is <unknown>, the last.

    Chance is the best guess from frequencies alone, memoryless the best from the present character (or word), both
    fitted to the training part and judged on the part at hand. The deciding inputs are unknown, so all time steps count
    as informative, and every prediction as an answer; the gradient of the answer is that of the last prediction alone.
    No criterion says when a text is solved.

    References:
        Mikolov et al., Recurrent neural network based language model, 2010: the task.
        Williams & Peng, An efficient gradient-based algorithm for on-line training of recurrent network trajectories,
        1990: truncated backpropagation through time.

    Args:
        path: Text file, UTF-8; ~ is the home folder.
        seq_len: Time steps of a window, at least 1.
        unit: Unit that is predicted.
        windows: Places of the training windows.
        validation: Share of the text kept apart, at its end, rounded down; from 0.01 to 0.5.
        max_vocabulary: Different characters or words at most, <unknown> included; at least 2.
    """

    path: str
    seq_len: int = 100
    unit: Unit = "character"
    windows: Literal["consecutive", "independent"] = "consecutive"
    validation: float = 0.1
    max_vocabulary: int = 2000
    part: Literal["train", "validation"] = field(init=False, default="train")

    def __post_init__(self) -> None:
        require_size("seq_len", self.seq_len, 1)
        require_between("validation", self.validation, LEAST_SHARE, MOST_SHARE)
        require_size("max_vocabulary", self.max_vocabulary, 2)
        shortest = min(len(part) for part in self._parts)
        if shortest < 2:
            raise ConfigError(
                f"path must name a longer text: {self.path} has {len(self._corpus.tokens)} {self.unit}s, too few for a "
                f"training and a validation part; or set validation nearer to {MOST_SHARE}."
            )
        if shortest < self.seq_len + 1:
            raise ConfigError(
                f"seq_len must be below {shortest}, the number of {self.unit}s in the shorter part of {self.path}, got "
                f"{self.seq_len}: shorten it, take a longer text, or set validation nearer to {MOST_SHARE}."
            )

    @cached_property
    def _corpus(self) -> "_Corpus":
        """The whole text as it was when the task was made."""
        return _read(self.path, self.unit, self.max_vocabulary)

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Characters or words, the most frequent first, <unknown> last; a token is a place in it."""
        return self._corpus.vocabulary

    @property
    def _parts(self) -> tuple[Int[Tensor, " training"], Int[Tensor, " validation"]]:
        """The training part and the validation part."""
        tokens = self._corpus.tokens
        cut = len(tokens) - int(len(tokens) * self.validation)
        return tokens[:cut], tokens[cut:]

    @property
    def _tokens(self) -> Int[Tensor, " place"]:
        """The part that batches are drawn from."""
        return self._parts[self.part == "validation"]

    def _guesses(self) -> tuple[float, float, float]:
        """Return losses of the best guess without and with the present token, and the accuracy of the first.

        Fitted to the training part, judged on this one. On the part kept apart, with its unseen pairs, a token counts
        once more than seen, and a pair as if its first token were seen once more, followed as tokens are in general.
        """
        key, known = (len(self._parts[0]), self.part), self._corpus.guesses
        if key not in known:
            known[key] = self._fit_guesses()
        return known[key]

    def _fit_guesses(self) -> tuple[float, float, float]:
        size, unseen = len(self.vocabulary), 0 if self.part == "train" else 1
        pairs, seen = _pairs(self._parts[0], size)
        judged, times = _pairs(self._tokens, size)
        before, after = judged // size, judged % size

        followed = torch.zeros(size, dtype=torch.float64).index_add_(0, pairs // size, seen)
        counts = torch.zeros(size, dtype=torch.float64).index_add_(0, pairs % size, seen) + unseen
        single = counts / counts.sum()
        places = torch.searchsorted(pairs, judged).clamp(max=len(pairs) - 1)
        together = torch.where(pairs[places] == judged, seen[places], 0.0)
        double = (together + unseen * single[after]) / (followed[before] + unseen)

        shares = times / times.sum()
        right = shares[after == counts.argmax()].sum()
        return -float(shares @ single[after].log()), -float(shares @ double.log()), float(right)

    @property
    @override
    def facts(self) -> Facts:
        chance, memoryless, accuracy = self._guesses()
        return Facts(
            seq_len=self.seq_len,
            encoding="words",
            input_names=self.vocabulary,
            output_names=self.vocabulary,
            chance_loss=chance,
            chance_accuracy=accuracy,
            memoryless_loss=memoryless,
            solved=None,
            informative_steps=tuple(range(self.seq_len)),
            answer_alone=self.seq_len == 1,
        )

    @override
    def answer_outputs(self, batch: Batch) -> Bool[Tensor, "loss_step replica batch"]:
        last = batch.loss_steps == batch.loss_steps[-1]
        return last[:, None, None].expand_as(batch.answer)

    @property
    @override
    def data_digest(self) -> str:
        return self._corpus.digest

    @override
    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        if self.windows == "consecutive":
            return self._read_on(torch.randint(len(self._tokens), (batch_size,), generator=generator))
        starts = torch.randint(len(self._tokens) - self.seq_len, (batch_size,), generator=generator)
        return self._window(starts)

    @override
    def sample_after(self, ends: Int[Tensor, " batch"] | None, batch_size: int, generator: torch.Generator) -> Batch:
        return self.sample(batch_size, generator) if ends is None else self._read_on(ends)

    @override
    def with_seq_len(self, seq_len: int) -> "Text":
        return self._changed(seq_len=seq_len)

    def _changed(self, **arguments: Any) -> "Text":
        """Return a copy with the same text, even if the file has changed since; it is not read again."""
        other = copy.copy(self)
        for name, value in arguments.items():
            object.__setattr__(other, name, value)
        other.__post_init__()
        return other

    @override
    def held_out(self) -> "Text":
        return self._changed(part="validation", windows="independent")

    def _read_on(self, starts: Int[Tensor, " batch"]) -> Batch:
        return replace(self._window(starts), ends=(starts + self.seq_len) % len(self._tokens))

    def _window(self, starts: Int[Tensor, " batch"]) -> Batch:
        places = (starts + torch.arange(self.seq_len + 1)[:, None]) % len(self._tokens)
        read = self._tokens[places].long()
        everywhere = torch.ones_like(read[1:], dtype=torch.bool)
        return Batch(
            inputs=read[:-1],
            loss_steps=torch.arange(self.seq_len),
            targets=read[1:],
            counted=everywhere,
            answer=everywhere,
            informative=everywhere,
        )


@dataclass(frozen=True)
class _Corpus:
    """A file as tokens.

    Attributes:
        vocabulary: Text of each token.
        tokens: The whole text.
        digest: SHA-256 of the text.
        guesses: Losses and accuracy of the best guesses, by where the text is cut and which part is judged.
    """

    vocabulary: tuple[str, ...]
    tokens: Tensor
    digest: str
    guesses: dict[tuple[int, str], tuple[float, float, float]] = field(default_factory=dict)


def _pairs(tokens: Int[Tensor, " place"], size: int) -> tuple[Int[Tensor, " pair"], Float[Tensor, " pair"]]:
    """Return the pairs of adjacent tokens, as first * size + second in ascending order, and how often each occurs."""
    pairs, times = (tokens[:-1].long() * size + tokens[1:]).unique(return_counts=True)
    return pairs, times.double()


def _read(path: str, unit: Unit, max_vocabulary: int) -> _Corpus:
    """Return a file's text as tokens, cached; raise ConfigError if it is unreadable, not UTF-8, or has no text."""
    if not path.strip():
        raise ConfigError(f"path must name a text file, got '{path}'.")
    try:
        file = Path(path).expanduser()
        state = file.stat()
        if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
            raise ConfigError(f"path must name a text file, but {path} is a device or a pipe.")
        corpus = _tokenised(file, unit, max_vocabulary, (state.st_mtime_ns, state.st_size))
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"path must name a text in UTF-8, but byte {error.start} of {path} is not; convert it, for example with "
            f"iconv -f latin1 -t utf-8 if it is in Latin-1."
        ) from None
    except OSError as error:
        raise ConfigError(f"path must name a text file that can be read, but {path}: {error.strerror}.") from None
    if not len(corpus.tokens):
        raise ConfigError(f"path must name a text, but {path} has no {unit}s in it.")
    return corpus


@lru_cache(maxsize=4)
def _tokenised(file: Path, unit: Unit, max_vocabulary: int, state: tuple[int, int]) -> _Corpus:
    """Cut a file into tokens; if its `state` shows that it has changed, it is read again."""
    text = file.read_text(encoding="utf-8-sig")
    pieces = text if unit == "character" else WORD.findall(text)
    counts = Counter(pieces)
    # Ties are in alphabetical order: the same on every machine.
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    if len(ranked) > max_vocabulary:
        ranked = [*ranked[: max_vocabulary - 1], UNKNOWN]
    place = {name: token for token, name in enumerate(ranked)}
    tokens = np.fromiter((place.get(piece, len(ranked) - 1) for piece in pieces), dtype=np.int32, count=len(pieces))
    return _Corpus(tuple(ranked), torch.from_numpy(tokens), hashlib.sha256(text.encode()).hexdigest())
