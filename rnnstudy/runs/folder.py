"""The layout of a run folder: the one place on which writers and readers of runs agree."""

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rnnstudy.core.errors import RnnstudyError

FORMAT = 1
"""Version of the layout; raised when a reader of the old one would misread the new one."""

SUB_RUN = "at_step_"
"""Prefix of folders within a run folder that only hold a view of one training step for TensorBoard."""

WORST = "_worst"
"""Ending of the one such folder that holds the worst step, `at_step_000013_worst`."""

RECORDS = ".rnnstudy"
"""Folder beside the run folders that holds the locks of the runs being done and the ledgers of the sweeps."""

_HASHED = re.compile(r"_([0-9a-f]{8})")


@dataclass(frozen=True)
class RunFolder:
    """Files of one run.

    Args:
        path: The folder; it need not exist yet.
    """

    path: Path

    @property
    def config(self) -> Path:
        """Resolved configuration, YAML."""
        return self.path / "config.yaml"

    @property
    def manifest(self) -> Path:
        """Format, versions, commit, device, seed and the task's facts, written at the start; JSON."""
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        """Scalars: one JSON line per step and replica; append-only."""
        return self.path / "metrics.jsonl"

    @property
    def curves(self) -> Path:
        """Curves over time steps: one JSON line per step, replica and tag; append-only."""
        return self.path / "curves.jsonl"

    @property
    def histograms(self) -> Path:
        """Histograms pooled over the running replicas, and over those that stop: JSON lines; append-only."""
        return self.path / "histograms.jsonl"

    @property
    def events(self) -> Path:
        """Steps that exploded, and the first thing that was not finite; JSON, written anew with every checkpoint."""
        return self.path / "events.json"

    @property
    def result(self) -> Path:
        """Status and final figures per replica, written at the end only; JSON."""
        return self.path / "result.json"

    @property
    def failure(self) -> Path:
        """Error and time of the last failed attempt; JSON. A new attempt removes it."""
        return self.path / "failure.json"

    @property
    def history(self) -> Path:
        """Messages about the run while it was done: one line each, with the time."""
        return self.path / "history.log"

    @property
    def lock(self) -> Path:
        """Lock of the process that does the run, named by the hash alone, so that a configuration has one."""
        hashed = _HASHED.fullmatch(self.path.name[-9:])
        return self.path.parent / RECORDS / "locks" / hashed[1] if hashed else self.path / "lock"

    @property
    def checkpoints(self) -> Path:
        """Folder of the last checkpoints."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> Path:
        """Folder of the TensorBoard event files: the run folder itself, whose name TensorBoard then shows."""
        return self.path

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end."""
        return self.result.exists()


def open_unlinked(path: str | Path, flags: int) -> int:
    """Open a file of a run folder for writing, as `open(opener=...)` asks; raise OSError if it is a link or a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)


def partial_of(path: Path) -> Path:
    """Return the path of a file until it is whole."""
    return path.with_name(path.name + ".part")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and flush it to the disk; raise OSError if that fails: an older file stays."""
    partial = partial_of(path)
    try:
        with open(partial, "wb", opener=open_unlinked) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        # Flush the names in the folder too, where the file system can.
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with suppress(OSError):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def write_figures(path: Path, content: object) -> None:
    """Write figures as JSON to a file that the user named; raise RnnstudyError if that fails."""
    try:
        write_json(path, content)
    except OSError as error:
        raise RnnstudyError(f"'{path}' cannot be written to: {error.strerror}.") from None


def write_json(path: Path, content: object) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
