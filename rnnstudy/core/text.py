"""Text for a terminal."""

import re
import shlex
from collections.abc import Sequence


def printable(text: str) -> str:
    """Return a line with every character that a terminal might obey, such as an escape in a folder's name, replaced."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def override(key: str, value: str) -> str:
    """Return `key=value`, quoted for Hydra and for the shell where either would read the text differently.

    >>> print(override("output_dir", "/data/runs"), override("study", "ünï"))
    output_dir=/data/runs 'study="ünï"'
    """
    if re.fullmatch(r"/[\w/.-]*", value, re.ASCII):
        return f"{key}={value}"
    escaped = value.replace('"', '\\"')
    return shlex.quote(f'{key}="{escaped}"')


def join(parts: Sequence[str]) -> str:
    """Return "a", "a and b", or "a, b and c"; nothing without parts."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
