"""Every cell: found, not listed, so that a new one is checked without an edit here."""

import importlib
import inspect
import itertools
import pkgutil
from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

import rnnstudy.recurrence
from rnnstudy.recurrence.base import Recurrence


@cache
def all_cells() -> tuple[Recurrence, ...]:
    """Return every cell in the package, for every combination of its choices (fields that are `Literal` or `bool`)."""
    package = rnnstudy.recurrence
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    found = [kind for kind in _descendants(Recurrence) if kind.__module__.startswith(f"{package.__name__}.")]
    return tuple(cell for kind in sorted(found, key=lambda kind: kind.__name__) for cell in _variants(kind))


def _descendants(kind: type[Recurrence]) -> set[type[Recurrence]]:
    direct = set(kind.__subclasses__())
    whole = direct.union(*(_descendants(each) for each in direct))
    return {each for each in whole if not inspect.isabstract(each)}


def _variants(kind: type[Recurrence]) -> list[Recurrence]:
    hints = get_type_hints(kind)
    found = fields(kind)  # pyright: ignore[reportArgumentType]
    choices = {each.name: _choices(each, hints[each.name]) for each in found}
    return [kind(**dict(zip(choices, row, strict=True))) for row in itertools.product(*choices.values())]


def _choices(setting: Field[Any], hint: object) -> list[Any]:
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if hint is bool:
        return [False, True]
    assert setting.default is not MISSING, f"{setting.name} has neither choices nor a default"
    return [setting.default]


def name_of(cell: Recurrence) -> str:
    """Return the cell's name in tables, such as "rnn tanh layer_norm"."""
    parts = [type(cell).__name__.removesuffix("Recurrence").lower()]
    for name, value in vars(cell).items():
        if isinstance(value, bool):
            parts += [name] * value
        else:
            parts.append(value if isinstance(value, str) else f"{name}={value}")
    return " ".join(parts)


def has_kink(cell: Recurrence) -> bool:
    """Return whether the cell's slope jumps where a unit switches on: there rounding decides which slope is right."""
    return any(value in {"relu", "modrelu"} for value in vars(cell).values())
