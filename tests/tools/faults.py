"""Disks that are full, read-only or stolen from others: real ones, mounted for a test."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = 4096
"""Bytes in which a tmpfs hands out its space."""


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


@contextmanager
def disk(folder: Path, pages: int) -> Iterator[Path]:
    """A disk of a few pages, until the end of the `with` block."""
    folder.mkdir(exist_ok=True)
    try:
        _mount("-t", "tmpfs", "-o", f"size={pages * PAGE}", "tmpfs", str(folder))
    except FileNotFoundError:
        pytest.skip("there is no command to mount a disk with")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def resize(folder: Path, pages: int) -> None:
    """Make a disk larger."""
    subprocess.run(["mount", "-o", f"remount,size={pages * PAGE}", str(folder)], check=True)


def make_read_only(folder: Path) -> None:
    """Take nothing more."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def make_writable(folder: Path) -> None:
    """Take something again."""
    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
