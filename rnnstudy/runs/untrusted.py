"""Reading files that a stranger may have made: no code in them is run, nothing in them is followed or multiplied."""

import errno
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 256 * 2**20
"""Most bytes of a file that is read whole: far above any configuration or result, and within a laptop's memory."""

MOST_DEPTH = 50
"""Most levels of a YAML file. libyaml's loader crashes the process at some tens of thousands."""

MOST_CHARACTERS = 3500
"""Most characters of a value in a YAML file: enough for a long path, and few enough for Python to print a number."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, in C; not every build of yaml has it


def read_regular(path: Path, most: int | None = MOST_BYTES) -> bytes:
    """Return a file's content, through a link too; raise OSError above `most` bytes, or for a pipe or device."""
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
    """Return the value of a JSON text; raise ValueError if it is malformed or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_yaml(text: bytes) -> Any:
    """Return the content of YAML of plain values, as `rnnstudy train` writes it; raise ValueError for any other."""
    try:
        _require_plain(text)
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, LookupError, TypeError, OverflowError) as error:
        raise ValueError(f"no YAML: {type(error).__name__}") from None


def _require_plain(text: bytes) -> None:
    """Raise ValueError for a tag (names a type), an alias (multiplies content), too many levels or too long a value."""
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
    """Return the value in a JSON file; raise OSError if it cannot be read, ValueError if malformed."""
    return parse_json(read_regular(path))


def find_mapping(path: Path) -> dict[str, Any] | None:
    """Return the mapping in a JSON file; None if the file cannot be read or holds something else."""
    with suppress(OSError, ValueError):
        content = read_json(path)
        return content if isinstance(content, dict) else None
    return None


def read_yaml(path: Path) -> Any:
    """Return the content of a file of plain YAML; raise OSError if it cannot be read, ValueError if malformed."""
    return parse_yaml(read_regular(path))
