"""Checked access to what was read from a run's files."""

from dataclasses import dataclass
from typing import Any

from rnnstudy.core.errors import RnnstudyError

MOST = 10**18
"""The largest whole number in a file of a run; far above any count, and within what arrays hold."""


class UnreadableRunError(RnnstudyError):
    """A run folder that cannot be compared; the message says which file and why."""


def is_number(value: object) -> bool:
    """Return whether `value` is a real number that float64 can hold (NaN and infinities are)."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= MOST)


@dataclass(frozen=True)
class Fields:
    """A mapping from a file, each entry checked as it is taken.

    Args:
        content: What was read.
        source: Named in errors, e.g. "run.json".

    Raises:
        UnreadableRunError: `content` is not a mapping.
    """

    content: Any
    source: str

    def __post_init__(self) -> None:
        if not isinstance(self.content, dict):
            raise UnreadableRunError(f"{self.source} holds no mapping")

    def take(self, key: str) -> Any:
        """Return any entry.

        Raises:
            UnreadableRunError: There is none.
        """
        if key not in self.content:
            raise UnreadableRunError(f"{self.source} has no '{key}'")
        return self.content[key]

    def nested(self, key: str) -> "Fields":
        """Return a mapping within the mapping."""
        return Fields(self.take(key), f"{self.source}, '{key}'")

    def integer(self, key: str, *, minimum: int = 0) -> int:
        """Return a whole number.

        Raises:
            UnreadableRunError: It is none, or below `minimum`.
        """
        value = self.take(key)
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= MOST:
            raise UnreadableRunError(f"{self.source}: '{key}' must be a whole number from {minimum}, is {value!r:.60}")
        return value

    def number(self, key: str) -> float:
        """Return a number.

        Raises:
            UnreadableRunError: It is none.
        """
        value = self.take(key)
        if not is_number(value):
            raise UnreadableRunError(f"{self.source}: '{key}' must be a number, is {value!r:.60}")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """Return a number, or None for null."""
        return None if self.take(key) is None else self.number(key)

    def flag(self, key: str) -> bool:
        """Return true or false.

        Raises:
            UnreadableRunError: It is neither.
        """
        value = self.take(key)
        if not isinstance(value, bool):
            raise UnreadableRunError(f"{self.source}: '{key}' must be true or false, is {value!r:.60}")
        return value

    def text(self, key: str) -> str:
        """Return a string.

        Raises:
            UnreadableRunError: It is none.
        """
        value = self.take(key)
        if not isinstance(value, str):
            raise UnreadableRunError(f"{self.source}: '{key}' must be a string, is {value!r:.60}")
        return value

    def items(self, key: str, *, length: int | None = None) -> list[Any]:
        """Return a list, of `length` entries if that is given.

        Raises:
            UnreadableRunError: It is none, or of another length.
        """
        value = self.take(key)
        if not isinstance(value, list):
            raise UnreadableRunError(f"{self.source}: '{key}' must be a list, is {value!r:.60}")
        if length is not None and len(value) != length:
            raise UnreadableRunError(f"{self.source}: '{key}' has {len(value)} entries for {length} replicas")
        return value
