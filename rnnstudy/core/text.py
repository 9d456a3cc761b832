"""Text for a terminal."""

import re
import shlex


def printable(text: str) -> str:
    """Return a line with what a terminal would take for a command, such as an escape in a folder's name, replaced."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def override(key: str, value: str) -> str:
    """Set a key to a text on a command line.

    >>> print(override("output_dir", "/data/runs"), override("study", "ünï"))
    output_dir=/data/runs 'study="ünï"'

    Returns:
        Both, quoted for Hydra and for the shell where either would read the text otherwise.
    """
    if re.fullmatch(r"/[\w/.-]*", value, re.ASCII):
        return f"{key}={value}"
    escaped = value.replace('"', '\\"')
    return shlex.quote(f'{key}="{escaped}"')
