"""Streams for the commands' output, which may close before the commands end."""

import os
from collections.abc import Callable
from io import TextIOBase

from rich.console import Console

from rnnstudy.core.text import printable


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print lines as they are, without the characters that a terminal would obey."""
    shown = "\n".join(map(printable, text.split("\n")))
    console.print(shown, style=style, highlight=False, markup=False, soft_wrap=True)


class Lasting:
    """A stream whose reader may leave: a terminal that closes, a pipe that ends, a disk that is full.

    It drops what it cannot write, so that training continues, or saves its checkpoint; `error` holds the reason.

    Args:
        stream: Standard output or standard error.
    """

    def __init__(self, stream: TextIOBase) -> None:
        """Keep the stream; no error yet."""
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush what was written, or drop it."""
        self._attempt(self._stream.flush)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the number of the open file."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """Encoding of the text."""
        return self._stream.encoding

    def _attempt(self, action: Callable[[], object]) -> None:
        """Act; after a failure, discard everything from now on, and what waits in a buffer."""
        try:
            action()
        except OSError as error:
            self.error = self.error or error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
