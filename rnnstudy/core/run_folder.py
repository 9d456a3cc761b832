"""The layout of a run folder: who writes a run and who reads one agree here, and nowhere else."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from rnnstudy.core.errors import RnnstudyError

FORMAT = 1
"""Version of the layout; raised when a reader of the old one would misread the new one."""

SUB_RUN = "at_step_"
"""How folders within a run folder begin that hold a view of one training step for TensorBoard, and nothing else."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Args:
        path: The folder; it need not exist yet.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, YAML."""
        return self.path / "config.yaml"

    @property
    def manifest(self) -> Path:
        """Written at the start: format, versions, commit, device, seed, the task's facts; JSON."""
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
    def result(self) -> Path:
        """Written at the end, and only then: status and final figures per replica; JSON."""
        return self.path / "result.json"

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


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and flush it to the disk.

    Raises:
        OSError: The disk is full or the folder read-only; an older `path` is then untouched.
    """
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def write_figures(path: Path, content: object) -> None:
    """Write figures to a file that the user has named, as JSON.

    Raises:
        RnnstudyError: The file cannot be written.
    """
    try:
        write_json(path, content)
    except OSError as error:
        raise RnnstudyError(f"'{path}' cannot be written to: {error.strerror}.") from None


def write_json(path: Path, content: object) -> None:
    """Write `content` as indented JSON, whole or not at all."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
