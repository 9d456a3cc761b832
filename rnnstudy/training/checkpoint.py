"""Checkpoints: written whole or not at all, checked when read, the newest few kept."""

import hashlib
import io
import re
import zipfile
from errno import EACCES, EAGAIN, EINTR, EIO, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM, ESTALE, ETIMEDOUT
from pathlib import Path
from typing import Any

import torch

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.folder import write_atomically
from rnnstudy.runs.untrusted import read_regular

_NAME = re.compile(r"step_(\d+)\.pt")


class Checkpoints:
    """Checkpoints of one run: files `step_{steps}.pt`, each used only if it matches the SHA-256 beside it.

    Args:
        folder: Their folder, made when the first is saved.
        kept: Number of the newest to keep; None keeps all.
    """

    def __init__(self, folder: Path, kept: int | None = None) -> None:
        """Store the settings; read nothing yet."""
        self._folder, self._kept = folder, kept

    def save(self, step: int, content: dict[str, Any]) -> None:
        """Save `content`, nested lists and dicts of tensors, numbers and strings; drop checkpoints beyond `kept`.

        Raises:
            RnnstudyError: The folder is a link. It may lead to another run's checkpoints, which would be dropped.
        """
        if self._folder.is_symlink():
            raise RnnstudyError(f"{self._folder} is a link; put the folder itself there, so that it is this run's own.")
        self._folder.mkdir(exist_ok=True)
        buffer = io.BytesIO()
        torch.save(content, buffer)
        path = self._folder / f"step_{step:09d}.pt"
        # The digest first: the checkpoint counts once its own file has its name; until then an older one stays good.
        digests = [hashlib.sha256(buffer.getbuffer()).hexdigest().encode()]
        if path.exists() and _is_whole(older := read_regular(path, most=None), path):
            digests.append(hashlib.sha256(older).hexdigest().encode())
        write_atomically(_digest_path(path), b"\n".join(digests))
        write_atomically(path, buffer.getvalue())
        for old in self._found()[: -self._kept] if self._kept else []:
            self.drop(old)
        # Remove what a process killed during a save left: parts of files, digests without a checkpoint.
        kept = {name for found in self._found() for name in (found, _digest_path(found))}
        for stray in self._folder.iterdir():
            if stray not in kept and _NAME.match(stray.name):
                stray.unlink()

    def load(self) -> tuple[dict[str, Any] | None, list[Path]]:
        """Return the newest whole checkpoint's content or None, and the damaged newer files; run no code in them."""
        damaged: list[Path] = []
        for path in reversed(self._found()):
            if (content := _read(path)) is not None:
                return content, damaged
            damaged.append(path)
        return None, damaged

    def steps(self) -> list[int]:
        """Return the optimizer steps of the checkpoints in ascending order."""
        return [_step(path) for path in self._found()]

    def load_step(self, step: int) -> dict[str, Any] | None:
        """Return the content of the checkpoint at one of `steps`, None if damaged; run no code in it."""
        return _read(next(path for path in self._found() if _step(path) == step))

    def drop(self, path: Path) -> None:
        """Remove a checkpoint."""
        path.unlink()
        _digest_path(path).unlink(missing_ok=True)

    def _found(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted((path for path in self._folder.iterdir() if _NAME.fullmatch(path.name)), key=_step)


def _step(path: Path) -> int:
    return int(path.stem.removeprefix("step_"))


_MAY_PASS = {EACCES, EPERM, EIO, ESTALE, ETIMEDOUT, EMFILE, ENFILE, ENOMEM, ENOBUFS, EAGAIN, EINTR}
"""Errors that do not depend on the content of a file: a server that does not answer, too many open files."""


def _read(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint, None if damaged; raise RnnstudyError if unreadable now, MemoryError if memory runs out."""
    try:
        data = read_regular(path, most=None)
        if not _is_whole(data, path) or not _is_as_large_as_it_says(data):
            return None
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _MAY_PASS:
            raise RnnstudyError(f"{path} cannot be read: {error.strerror}. It is kept; try again.") from None
        if isinstance(error, RuntimeError) and "allocate memory" in str(error):
            raise MemoryError(str(error)) from None
        # A file from elsewhere can make torch's reader raise any exception.
        return None
    return content if isinstance(content, dict) else None


def _is_whole(data: bytes, path: Path) -> bool:
    """Return whether a checkpoint's file is as it was written: it matches one of the digests beside it."""
    try:
        digests = read_regular(_digest_path(path)).split(b"\n")
    except FileNotFoundError:
        return False
    return hashlib.sha256(data).hexdigest().encode() in digests


def _is_as_large_as_it_says(data: bytes) -> bool:
    """Return whether an archive unpacks to no more than its own size: torch compresses nothing, a bomb does."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return sum(entry.file_size for entry in archive.infolist()) <= len(data)


def _digest_path(path: Path) -> Path:
    return path.with_suffix(".pt.sha256")
