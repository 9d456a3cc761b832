"""Reading files that a stranger may have made: no code in them is run, nothing in them is followed or multiplied."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 256 * 2**20
"""The largest file that is read whole: far above any configuration or result, and within a laptop's memory."""

MOST_DEPTH = 50
"""The most levels of a YAML file. libyaml's loader crashes the process at some tens of thousands."""

MOST_CHARACTERS = 3500
"""The most of one value in a YAML file: a path may be long, but Python refuses to print numbers that are."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, in C; not every build of yaml has it


def read_regular(path: Path, most: int | None = MOST_BYTES) -> bytes:
    """Read a whole file, never from a pipe or a device, where that could take for ever.

    Args:
        path: The file, or a link to one.
        most: The most bytes; None reads any number.

    Returns:
        What it holds.

    Raises:
        OSError: It cannot be read, is no regular file, or too large.
    """
    # Opening a pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        state = os.fstat(descriptor)
        if stat.S_ISDIR(state.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(state.st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        if most is not None and state.st_size > most:
            raise OSError(errno.EFBIG, f"is larger than {most} bytes", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def parse_json(text: bytes) -> Any:
    """Take JSON apart.

    Args:
        text: One value.

    Returns:
        The value.

    Raises:
        ValueError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_yaml(text: bytes) -> Any:
    """Take YAML apart that holds plain values alone, as `rnnstudy train` writes it.

    Tags, which name types, and aliases, by which a few lines stand for billions, are refused.

    Args:
        text: One document.

    Returns:
        Its content.

    Raises:
        ValueError: It is no YAML, or no such.
    """
    try:
        _require_plain(text)
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, LookupError, TypeError, OverflowError) as error:
        raise ValueError(f"no YAML: {type(error).__name__}") from None


def _require_plain(text: bytes) -> None:
    """Raise ValueError for YAML with a tag, an alias, too many levels or too long a value."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
            raise ValueError("holds a tag or an alias")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MOST_CHARACTERS:
            raise ValueError(f"holds a value of more than {MOST_CHARACTERS} characters")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise ValueError(f"has more than {MOST_DEPTH} levels")


def read_json(path: Path) -> Any:
    """Read a file that holds JSON.

    Args:
        path: The file.

    Returns:
        Its value.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no JSON.
    """
    return parse_json(read_regular(path))


def read_yaml(path: Path) -> Any:
    """Read a file that holds plain YAML.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no YAML, or holds more than plain values.
    """
    return parse_yaml(read_regular(path))
