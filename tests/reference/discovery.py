"""Finds the members of a package, so that a contract test covers those that do not exist yet."""

import importlib
import inspect
import itertools
import pkgutil
from dataclasses import MISSING, Field, fields
from types import ModuleType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def concrete_subclasses(package: ModuleType, base: type[T]) -> list[type[T]]:
    """All classes under `package` that can be built, in the order of their names."""
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    found = {
        subclass
        for subclass in _descendants(base)
        if not inspect.isabstract(subclass) and subclass.__module__.startswith(f"{package.__name__}.")
    }
    return sorted(found, key=lambda subclass: subclass.__name__)


def variants(member: type[T]) -> list[T]:
    """One instance for every combination of the choices (`Literal`, `bool`) that its dataclass fields offer."""
    hints = get_type_hints(member)
    chosen: list[Field[Any]] = [item for item in fields(member) if item.init]  # pyright: ignore[reportArgumentType]
    values = [_choices(member, item, hints[item.name]) for item in chosen]
    names = [item.name for item in chosen]
    return [member(**dict(zip(names, row, strict=True))) for row in itertools.product(*values)]


def _choices(member: type, item: Field[Any], hint: object) -> list[Any]:
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if hint is bool:
        return [False, True]
    if item.default is not MISSING:
        return [item.default]
    raise TypeError(f"{member.__name__}.{item.name} has neither choices nor a default: tell the tests what to use.")


def _descendants(base: type[T]) -> set[type[T]]:
    direct = set(base.__subclasses__())
    return direct.union(*(_descendants(subclass) for subclass in direct))
