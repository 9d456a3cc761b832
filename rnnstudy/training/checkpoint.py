"""Checkpoints: written whole or not at all, checked when read, the last two kept."""

import hashlib
import io
import pickle
import re
from pathlib import Path
from typing import Any

import torch

from rnnstudy.core.run_folder import write_atomically

KEPT = 2
_NAME = re.compile(r"step_(\d+)\.pt")


class Checkpoints:
    """The checkpoints of one run.

    Each is a file `step_{steps}.pt` with its SHA-256 beside it; a file that does not match it is not used.

    Args:
        folder: Where they are; made when the first is saved.
    """

    def __init__(self, folder: Path) -> None:
        """Look nowhere yet."""
        self._folder = folder

    def save(self, step: int, content: dict[str, Any]) -> None:
        """Save a checkpoint and drop all but the last two.

        Args:
            step: Optimizer steps done.
            content: Tensors, numbers, strings, and lists and dicts of them.
        """
        self._folder.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        torch.save(content, buffer)
        path = self._folder / f"step_{step:09d}.pt"
        # The digest first: a checkpoint counts from the moment its own file has its name.
        write_atomically(_digest_path(path), hashlib.sha256(buffer.getbuffer()).hexdigest().encode())
        write_atomically(path, buffer.getvalue())
        for old in self._found()[:-KEPT]:
            old.unlink()
            _digest_path(old).unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, Any] | None, list[Path]]:
        """Load the newest checkpoint that is whole; no code in it is ever run.

        Returns:
            Its content, None if there is none, and the newer ones that had to be passed over.
        """
        damaged: list[Path] = []
        for path in reversed(self._found()):
            data = path.read_bytes()
            digest = _digest_path(path)
            if digest.exists() and digest.read_text() == hashlib.sha256(data).hexdigest():
                try:
                    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True), damaged
                except (RuntimeError, pickle.UnpicklingError):
                    pass
            damaged.append(path)
        return None, damaged

    def drop(self, path: Path) -> None:
        """Remove a damaged checkpoint."""
        path.unlink()
        _digest_path(path).unlink(missing_ok=True)

    def _found(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".pt.sha256")
