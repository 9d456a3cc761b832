"""Public names found in the files of a package, and imported when they are first used (PEP 562)."""

import ast
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from rnnstudy.core.errors import suggest


def find_exports(package: str, folder: Path) -> dict[str, str]:
    """Return the places of a package's public names, such as "rnnstudy.models.lstm:LSTM", without importing a module.

    A file offers the class or function of its own name, regardless of capitals and underscores: `clip_norm.py` offers
    `ClipNorm`, `lstm.py` offers `LSTM`. A file that defines nothing of its name, such as `base.py`, offers nothing.
    Names are in the order of the modules.
    """
    return {
        statement.name: f"{package}.{path.stem}:{statement.name}"
        for path in sorted(folder.glob("[a-z]*.py"))
        for statement in ast.parse(path.read_bytes()).body
        if isinstance(statement, ast.ClassDef | ast.FunctionDef)
        and statement.name.replace("_", "").lower() == path.stem.replace("_", "")
    }


def lazy(package: str, find: Callable[[], Mapping[str, str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return a package's `__getattr__` and `__dir__`; the first raises AttributeError for a name that is not public.

    `find` is called at the first use of a name. It returns all public names with their places, such as
    "rnnstudy.models.lstm:LSTM", or "rnnstudy.models" for a module.
    """
    places = cache(find)

    def get(name: str) -> Any:
        if name.startswith("_") or name not in places():
            hint = "" if name.startswith("_") else f" {suggest(name, places())}"
            raise AttributeError(f"{package} has no '{name}'.{hint}", name=name)
        return resolve_name(places()[name])

    return get, lambda: sorted(places())
