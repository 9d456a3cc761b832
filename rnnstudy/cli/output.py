"""What the commands print to, which may end before they do."""

import os
from collections.abc import Callable
from io import TextIOBase


class Lasting:
    """A stream whose reader may leave: a terminal that is closed, a pipe that ends, a disk that is full.

    What cannot be written any more is dropped, so that what trains goes on, or saves its checkpoint; `error` tells why.

    Args:
        stream: Standard output or standard error.
    """

    def __init__(self, stream: TextIOBase) -> None:
        """Nothing has gone wrong yet."""
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
        """The number of the open file."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """Of the texts."""
        return self._stream.encoding

    def _attempt(self, action: Callable[[], object]) -> None:
        """Do it; if it fails, have everything from now on, and what waits in a buffer, go nowhere."""
        try:
            action()
        except OSError as error:
            self.error = self.error or error
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
