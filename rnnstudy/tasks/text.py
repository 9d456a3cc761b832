"""Next-character or next-word prediction on a text of the user's own."""

import copy
import hashlib
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, require_at_least, require_between
from rnnstudy.tasks.base import Batch, ClassificationTask, Facts

UNKNOWN = "<unknown>"
WORD = re.compile(r"\w+|[^\w\s]")
"""A word: letters and digits that stand together, or one sign of punctuation."""

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

    The last part of the file is kept apart to be evaluated on. consecutive: training reads the rest the usual way
    of truncated backpropagation through time: every sequence of a batch starts where that of the batch before
    ended, with the state it had reached there, and the gradient stops at the start of the window. (The places where
    reading begins are random; after the end of the part it goes on at its start, also within a window.)
    independent: every window is at a random place, from state zero; evaluation always reads so.

    A word is letters, digits and underscores that stand together, or one sign of punctuation. The vocabulary is that of
    the whole file, the most frequent first; if it is larger than `max_vocabulary`, the rarest are one, <unknown>, which
    then is the last. Line ends count as one character.
    Chance is the best guess from frequencies alone, memoryless the best one from the present character (or word), both
    fitted to the part itself. Which inputs decide is not known, so all time steps count as informative, and every
    prediction as an answer. There is no criterion for a text to be solved.

    References:
        Mikolov et al., Recurrent neural network based language model, 2010: the task.
        Williams & Peng, An efficient gradient-based algorithm for on-line training of recurrent network trajectories,
        1990: truncated backpropagation through time.

    Args:
        path: The file, UTF-8.
        seq_len: Time steps of a window, at least 1.
        unit: What is predicted.
        windows: Where the windows of training lie.
        validation: Share of the text that is kept apart, at its end, rounded down; from 0.01 to 0.5.
        max_vocabulary: Different characters or words at most, <unknown> included; at least 2.
        part: What batches are drawn from; evaluation always takes the validation part.
    """

    path: str
    seq_len: int = 100
    unit: Literal["character", "word"] = "character"
    windows: Literal["consecutive", "independent"] = "consecutive"
    validation: float = 0.1
    max_vocabulary: int = 2000
    part: Literal["train", "validation"] = "train"

    def __post_init__(self) -> None:
        require_at_least("seq_len", self.seq_len, 1)
        require_between("validation", self.validation, LEAST_SHARE, MOST_SHARE)
        require_at_least("max_vocabulary", self.max_vocabulary, 2)
        held_out = self._held_out
        shortest = min(len(self._pieces) - held_out, held_out)
        if shortest < self.seq_len + 1:
            way_out = "take a longer text, or set validation nearer to 0.5"
            raise ConfigError(
                f"seq_len must be below {shortest}, the number of {self.unit}s in the shorter part of {self.path}, "
                f"got {self.seq_len}: {way_out if shortest < 2 else f'shorten it, {way_out}'}."
            )

    @cached_property
    def _pieces(self) -> tuple[str, ...]:
        """The whole text as it was when the task was made."""
        return _read(self.path, self.unit)

    @property
    def _held_out(self) -> int:
        """Length of the validation part."""
        return int(len(self._pieces) * self.validation)

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The most frequent first, <unknown> last; a token is a place in it."""
        counts = Counter(self._pieces)
        # Equally frequent ones in the order of their letters: the same on every machine.
        ranked = sorted(counts, key=lambda name: (-counts[name], name))
        if len(ranked) <= self.max_vocabulary:
            return tuple(ranked)
        return (*ranked[: self.max_vocabulary - 1], UNKNOWN)

    @cached_property
    def _tokens(self) -> Int[Tensor, " place"]:
        """This part of the text."""
        place = {name: token for token, name in enumerate(self.vocabulary)}
        unknown = len(place) - 1
        tokens = torch.tensor([place.get(name, unknown) for name in self._pieces])
        cut = len(tokens) - self._held_out
        return tokens[:cut] if self.part == "train" else tokens[cut:]

    @cached_property
    def _entropies(self) -> tuple[float, float, float]:
        """Of a token, and of a token given the one before, in nats; and the share of the most frequent token."""
        tokens = self._tokens
        after = tokens[1:]
        shares = after.bincount().double() / len(after)
        _, pairs = (tokens[:-1] * len(self.vocabulary) + after).unique(return_counts=True)
        before = tokens[:-1].bincount().double() / len(after)
        entropy = [float(torch.special.entr(part).sum()) for part in (shares, pairs.double() / len(after), before)]
        return entropy[0], entropy[1] - entropy[2], float(shares.max())

    @property
    @override
    def facts(self) -> Facts:
        chance, memoryless, accuracy = self._entropies
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
        )

    @property
    @override
    def data_digest(self) -> str:
        return hashlib.sha256("\0".join(self._pieces).encode()).hexdigest()

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
        # A copy takes along what has been made of the file: it is neither read nor counted again.
        other = copy.copy(self)
        object.__setattr__(other, "seq_len", seq_len)
        other.__post_init__()
        return other

    @override
    def held_out(self) -> "Text":
        return replace(self, part="validation", windows="independent")

    def _read_on(self, starts: Int[Tensor, " batch"]) -> Batch:
        return replace(self._window(starts), ends=(starts + self.seq_len) % len(self._tokens))

    def _window(self, starts: Int[Tensor, " batch"]) -> Batch:
        places = (starts + torch.arange(self.seq_len + 1)[:, None]) % len(self._tokens)
        read = self._tokens[places]
        everywhere = torch.ones_like(read[1:], dtype=torch.bool)
        return Batch(
            inputs=read[:-1],
            loss_steps=torch.arange(self.seq_len),
            targets=read[1:],
            counted=everywhere,
            answer=everywhere,
            informative=everywhere,
        )


def _read(path: str, unit: str) -> tuple[str, ...]:
    """Cut a file into characters or words.

    Returns:
        All of them, in order.

    Raises:
        ConfigError: The file cannot be read, is not UTF-8, or has no text.
    """
    if not path.strip():
        raise ConfigError(f"path must name a text file, got '{path}'.")
    try:
        state = Path(path).stat()
        pieces = _cut(path, unit, state.st_mtime_ns, state.st_size)
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"path must name a text in UTF-8, but byte {error.start} of {path} is not; convert it, such as with "
            f"iconv -f latin1 -t utf-8."
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"path must name a text file that can be read, but {path}: {reason}.") from None
    if not pieces:
        raise ConfigError(f"path must name a text, but {path} has no {unit}s in it.")
    return pieces


@lru_cache(maxsize=4)
def _cut(path: str, unit: str, modified: int, size: int) -> tuple[str, ...]:
    """Read and cut a file; one that has changed since is read again."""
    text = Path(path).read_text(encoding="utf-8-sig")
    return tuple(text) if unit == "character" else tuple(WORD.findall(text))
