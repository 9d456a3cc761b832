"""What the commands print to, which may end before they do."""

import os
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
        try:
            self._stream.write(text)
        except OSError as error:
            self._drop(error)
        return len(text)

    def flush(self) -> None:
        """Flush what was written, or drop it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

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

    def _drop(self, error: OSError) -> None:
        """Have everything from now on, and what waits in a buffer, go nowhere."""
        self.error = self.error or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
