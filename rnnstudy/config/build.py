"""From configuration nodes to objects: the only place where a configuration names code.

A node names its class in `_target_`; its other keys are the fields of the class. It can only name members of this
package and optimizers of torch.optim. No other module is imported, and every key is checked before any object is made.
"""

import importlib
import inspect
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from rnnstudy.core.errors import ConfigError, suggest

T = TypeVar("T")
Node = Mapping[str, Any]

TARGET = "_target_"

MEMBERS = ("core.schedule", "inits", "instruments", "mitigations", "models", "schedules", "tasks")
"""Modules of rnnstudy, or groups of them, whose classes a configuration may name: importing them does nothing else."""

_NAMEABLE = re.compile(rf"rnnstudy\.({'|'.join(map(re.escape, MEMBERS))})(\.[A-Za-z]\w*)*|torch\.optim", re.ASCII)
_STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)


def build(node: Any, base: type[T], *, path: str) -> T:
    """Return the object that a node describes: `_target_` names its class, a kind of `base`; other keys are its fields.

    `path` is the place of the node in the configuration, for error messages.

    Raises:
        ConfigError: The node names no such class, a key is unknown or missing, or a value has the wrong type or range.
    """
    cls = find_class(node, base, path=path)
    return build_section(cls, {key: value for key, value in node.items() if key != TARGET}, path=path)


def find_class(node: Any, base: type[T], *, path: str) -> type[T]:
    """Return the class that a node names in `_target_`; raise ConfigError unless it is a concrete kind of `base`."""
    target = require_mapping(node, path).get(TARGET)
    cls = locate(target, f"{path}.{TARGET}")
    if not (isinstance(cls, type) and issubclass(cls, base)) or inspect.isabstract(cls):
        raise ConfigError(f"{path}.{TARGET} must name a {base.__name__}, got '{target}'.")
    return cls


def build_section(cls: type[T], node: Any, *, path: str) -> T:
    """Return an object of a dataclass, made from a node with its fields; raise ConfigError as `build` does."""
    node = require_mapping(node, path)
    assert is_dataclass(cls), cls
    hints = get_type_hints(cls)
    known = [field for field in fields(cls) if field.init]
    required = {each.name for each in known if each.default is MISSING and each.default_factory is MISSING}
    check_keys(node, [each.name for each in known], required, path)
    values = {key: _convert(value, hints[key], path=f"{path}.{key}") for key, value in node.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        error.args = (f"{path}.{error}",)
        raise error from None


def require_mapping(node: Any, path: str) -> Node:
    """Return a node; raise ConfigError unless it is a mapping."""
    if not isinstance(node, Mapping):
        raise ConfigError(f"{path} must be a mapping of keys to values, got {node!r}.")
    return node


def locate(target: Any, path: str) -> Any:
    """Return the object of a dotted name.

    Raises:
        ConfigError: A configuration cannot use the name, or it does not exist.
        ModuleNotFoundError: The module exists, but one that it imports does not.
    """
    if not isinstance(target, str):
        raise ConfigError(f"{path} must name a class, such as rnnstudy.models.lstm.LSTM, got {target!r}.")
    module, _, name = target.rpartition(".")
    if _NAMEABLE.fullmatch(module) is None:
        allowed = f"classes of rnnstudy (in its {', '.join(MEMBERS)}) and optimizers of torch.optim"
        raise ConfigError(f"{path} may only name {allowed}, got '{target}'.")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        found = None
    if found is None:
        raise ConfigError(f"{path} names '{target}', which does not exist.")
    return found


def check_keys(node: Node, known: list[str], required: set[str], path: str) -> None:
    """Raise ConfigError for an unknown key, or a required one that is missing."""
    for key in node:
        if key not in known:
            raise ConfigError(f"{path}.{key} is not a known key. {suggest(str(key), known)}")
    for key in sorted(required - node.keys()):
        raise ConfigError(f"{path}.{key} is missing and has no default.")


def _convert(value: Any, hint: Any, *, path: str) -> Any:
    """Return a value that fits a field's type, with objects for the nodes in it; raise ConfigError if it cannot fit."""
    if isinstance(value, Mapping) and isinstance(hint, type) and not issubclass(hint, Mapping):
        return build(value, hint, path=path)
    if isinstance(value, Mapping) and get_origin(hint) is Mapping and isinstance(get_args(hint)[1], type):
        return {key: build(node, get_args(hint)[1], path=f"{path}.{key}") for key, node in value.items()}
    if hint is float and value in {"inf", ".inf"}:
        # YAML writes infinity with a dot, Hydra's command line without.
        return math.inf
    try:
        return TypeAdapter(hint, config=_STRICT).validate_python(value)
    except ValidationError as error:
        rules = " or ".join(detail["msg"].replace("Input should be", "must be") for detail in error.errors())
        raise ConfigError(f"{path} {rules}, got {value!r}.") from None
