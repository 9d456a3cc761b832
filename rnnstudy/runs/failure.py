"""Causes of failed runs, each kept in the run's folder until it is tried again."""

import os
import socket
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.folder import FORMAT, RunFolder, write_json
from rnnstudy.runs.untrusted import read_json

FAILED, PRUNED = "failed", "pruned"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Content of `failure.json`.

    Args:
        kind: "failed", or "pruned" for a run that a search gave up.
        error: Error in one line.
        traceback: Traceback as Python prints it; empty if unknown.
        when: Time in UTC, ISO 8601.
        host: Name of the machine.
        pid: Id of the process that wrote it.
        format: Version of the layout.
    """

    kind: str
    error: str
    traceback: str
    when: str
    host: str
    pid: int
    format: int = FORMAT


class UnfinishedError(RnnstudyError):
    """Not every run of a sweep is finished; the message says which and why. `runs` holds all its folders, in order."""

    def __init__(self, message: str, runs: list[RunFolder]) -> None:
        """Keep the runs."""
        super().__init__(message)
        self.runs = runs


def record(folder: RunFolder, error: str, *, kind: str = FAILED, trace: str = "") -> None:
    """Record why a run ended early; raise OSError if the folder cannot be written to."""
    folder.path.mkdir(parents=True, exist_ok=True)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    failure = Failure(kind=kind, error=error, traceback=trace, when=when, host=socket.gethostname(), pid=os.getpid())
    write_json(folder.failure, asdict(failure))


def record_failure(folder: RunFolder, error: Exception) -> None:
    """Record an exception with its run, if the folder can be written to."""
    with suppress(OSError):
        record(folder, in_one_line(error), trace="".join(traceback.format_exception(error)))


def in_one_line(error: Exception) -> str:
    """Return an error in one line for people: one of rnnstudy as it is, any other with its class."""
    if isinstance(error, RnnstudyError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def read_failure(folder: RunFolder) -> Failure | None:
    """Return why a run failed; None if it did not, or its record cannot be read."""
    with suppress(OSError, ValueError, TypeError, RecursionError):
        content = read_json(folder.failure)
        return Failure(**{name: content[name] for name in Failure.__dataclass_fields__ if name in content})
    return None
