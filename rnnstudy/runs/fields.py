"""Checked access to the content of a run's files."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rnnstudy.core.errors import RnnstudyError

MOST = 10**18
"""Largest whole number in a file of a run: far above any count, and within what arrays hold."""


class UnreadableRunError(RnnstudyError):
    """A run folder cannot be compared; the message says which file and why."""


def is_number(value: object) -> bool:
    """Return whether `value` is a real number that float64 can hold (NaN and infinities are)."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= MOST)


@dataclass(frozen=True)
class Fields:
    """Mapping from a file that checks each entry as it is taken; UnreadableRunError names the file and the key.

    Args:
        content: Content of the file; anything but a mapping raises UnreadableRunError.
        source: Name in errors, e.g. "run.json".
    """

    content: Any
    source: str

    def __post_init__(self) -> None:
        if not isinstance(self.content, dict):
            raise UnreadableRunError(f"{self.source} holds no mapping")

    def take(self, key: str) -> Any:
        """Return any entry; raise UnreadableRunError if it is missing."""
        if key not in self.content:
            raise UnreadableRunError(f"{self.source} has no '{key}'")
        return self.content[key]

    def _take_if(self, fits: Callable[[object], bool], key: str, rule: str) -> Any:
        """Return an entry that fits; raise UnreadableRunError, with the rule, for any other."""
        value = self.take(key)
        if not fits(value):
            raise UnreadableRunError(f"{self.source}: '{key}' must be {rule}, is {value!r:.60}")
        return value

    def nested(self, key: str) -> "Fields":
        """Return a mapping within the mapping."""
        return Fields(self.take(key), f"{self.source}, '{key}'")

    def integer(self, key: str, *, minimum: int = 0) -> int:
        """Return a whole number of at least `minimum`."""
        rule = f"a whole number from {minimum}"
        return self._take_if(lambda value: type(value) is int and minimum <= value <= MOST, key, rule)

    def number(self, key: str) -> float:
        """Return a number."""
        return float(self._take_if(is_number, key, "a number"))

    def optional_number(self, key: str) -> float | None:
        """Return a number, or None for null."""
        return None if self.take(key) is None else self.number(key)

    def flag(self, key: str) -> bool:
        """Return true or false."""
        return self._take_if(lambda value: isinstance(value, bool), key, "true or false")

    def text(self, key: str) -> str:
        """Return a string."""
        return self._take_if(lambda value: isinstance(value, str), key, "a string")

    def items(self, key: str, *, length: int | None = None) -> list[Any]:
        """Return a list; raise UnreadableRunError unless it has `length` entries (None: any number)."""
        value = self._take_if(lambda value: isinstance(value, list), key, "a list")
        if length is not None and len(value) != length:
            raise UnreadableRunError(f"{self.source}: '{key}' has {len(value)} entries for {length} replicas")
        return value
