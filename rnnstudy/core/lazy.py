"""Public names that are found in the files of a package and imported when they are used (PEP 562)."""

import ast
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from rnnstudy.core.errors import suggest


def find_exports(package: str, folder: Path) -> dict[str, str]:
    """Find what the modules of a package offer, without importing any.

    A file offers the class or function of its own name, regardless of capitals and underscores: `clip_norm.py` offers
    `ClipNorm`, `lstm.py` offers `LSTM`. A file that defines nothing of its name, such as `base.py`, offers nothing.

    Args:
        package: Full name of the package.
        folder: Folder of the package.

    Returns:
        Public name to its place, such as "rnnstudy.models.lstm:LSTM", in the order of the modules.
    """
    return {
        statement.name: f"{package}.{path.stem}:{statement.name}"
        for path in sorted(folder.glob("[a-z]*.py"))
        for statement in ast.parse(path.read_bytes()).body
        if isinstance(statement, ast.ClassDef | ast.FunctionDef)
        and statement.name.replace("_", "").lower() == path.stem.replace("_", "")
    }


def lazy(package: str, find: Callable[[], Mapping[str, str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make the `__getattr__` and `__dir__` of a package.

    Args:
        package: Full name of the package.
        find: Called when a name is first asked for; returns all public names with their places, such as
            "rnnstudy.models.lstm:LSTM", or "rnnstudy.models" for a module.

    Returns:
        The two functions; the first raises AttributeError for a name that is not public.
    """
    places = cache(find)

    def get(name: str) -> Any:
        if name.startswith("_") or name not in places():
            hint = "" if name.startswith("_") else f" {suggest(name, places())}"
            raise AttributeError(f"{package} has no '{name}'.{hint}", name=name)
        return resolve_name(places()[name])

    return get, lambda: sorted(places())
