"""From configuration nodes to objects: the one place where a configuration names code.

A node names its class in `_target_`; its other keys are the class's fields. Only classes of this package and
optimizers of torch.optim can be named, and every key is checked before anything is made.
"""

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from rnnstudy.core.errors import ConfigError, suggest
from rnnstudy.training.optimizer import ELEMENTWISE, ReplicaOptimizer

T = TypeVar("T")
Node = Mapping[str, Any]

TARGET = "_target_"
_STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)


def build(node: Any, base: type[T], *, path: str) -> T:
    """Make the object that a node describes.

    Args:
        node: A mapping with `_target_` and the fields of the class it names.
        base: What the class must derive from.
        path: Where the node stands in the configuration, for error messages.

    Returns:
        An object of that class.

    Raises:
        ConfigError: The node names no such class, has an unknown or lacks a required key, or a value has the wrong
            type or is out of range.
    """
    cls = find_class(node, base, path=path)
    return build_section(cls, {key: value for key, value in node.items() if key != TARGET}, path=path)


def find_class(node: Any, base: type[T], *, path: str) -> type[T]:
    """Find the class that a node names.

    Args:
        node: A mapping with `_target_`.
        base: What the class must derive from.
        path: Where the node stands in the configuration, for error messages.

    Returns:
        The class.

    Raises:
        ConfigError: The node names no such class.
    """
    target = _require_mapping(node, path).get(TARGET)
    cls = _locate(target, f"{path}.{TARGET}")
    if not (isinstance(cls, type) and issubclass(cls, base)) or inspect.isabstract(cls):
        raise ConfigError(f"{path}.{TARGET} must name a {base.__name__}, got '{target}'.")
    return cls


def build_section(cls: type[T], node: Any, *, path: str) -> T:
    """Make an object of a known class from its fields.

    Args:
        cls: A dataclass.
        node: A mapping with its fields.
        path: Where the node stands in the configuration, for error messages.

    Returns:
        The object.

    Raises:
        ConfigError: As for `build`.
    """
    node = _require_mapping(node, path)
    assert is_dataclass(cls), cls
    hints = get_type_hints(cls)
    known = [field.name for field in fields(cls) if field.init]
    required = {
        field.name
        for field in fields(cls)
        if field.init and field.default is MISSING and field.default_factory is MISSING
    }
    _check_keys(node, known, required, path)
    values = {key: _convert(value, hints[key], path=f"{path}.{key}") for key, value in node.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}.{error}") from None


def optimizer_factory(node: Any, *, path: str) -> Callable[[nn.Module], ReplicaOptimizer]:
    """Check an optimizer's settings.

    Args:
        node: A mapping with `_target_`, an optimizer of torch.optim, and its arguments.
        path: Where the node stands in the configuration, for error messages.

    Returns:
        What makes the optimizer for a network.

    Raises:
        ConfigError: As for `build`, or the optimizer would couple the replicas.
    """
    node = _require_mapping(node, path)
    target = node.get(TARGET)
    cls: Any = _locate(target, f"{path}.{TARGET}")
    if not (inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer)):
        raise ConfigError(f"{path}.{TARGET} must name an optimizer of torch.optim, got '{target}'.")
    if cls.__name__ not in ELEMENTWISE:
        allowed = ", ".join(f"torch.optim.{name}" for name in sorted(ELEMENTWISE))
        raise ConfigError(
            f"{path}.{TARGET} must treat every weight by itself, or replicas would depend on each other; "
            f"{target} does not. Allowed: {allowed}."
        )
    arguments = {
        key: tuple(value) if isinstance(value, list) else value for key, value in node.items() if key != TARGET
    }
    parameters = list(inspect.signature(cls).parameters.values())[1:]
    required = {parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty}
    _check_keys(arguments, [parameter.name for parameter in parameters], required, path)
    for parameter in parameters:
        if parameter.name in arguments:
            _check_like(arguments[parameter.name], parameter.default, f"{path}.{parameter.name}")

    construct = cast(Callable[..., torch.optim.Optimizer], cls)

    def make(module: nn.Module) -> ReplicaOptimizer:
        return ReplicaOptimizer(construct(module.parameters(), **arguments))

    try:
        make(nn.Linear(1, 1))
    except (ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(f"{path}: {cls.__name__} refuses its arguments: {error}.") from None
    return make


def _require_mapping(node: Any, path: str) -> Node:
    if not isinstance(node, Mapping):
        raise ConfigError(f"{path} must be a mapping of keys to values, got {node!r}.")
    return node


def _locate(target: Any, path: str) -> Any:
    """Find what a dotted name names.

    Returns:
        Whatever stands there.

    Raises:
        ConfigError: The name is not one that a configuration may use, or there is no such thing.
        ModuleNotFoundError: The module is there, but something that it imports is not.
    """
    if not isinstance(target, str):
        raise ConfigError(f"{path} must name a class, such as rnnstudy.models.lstm.LSTM, got {target!r}.")
    module, _, name = target.rpartition(".")
    if not (module.startswith("rnnstudy.") or module == "torch.optim"):
        raise ConfigError(f"{path} may only name classes of rnnstudy and optimizers of torch.optim, got '{target}'.")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        found = None
    if found is None:
        raise ConfigError(f"{path} names '{target}', which does not exist.")
    return found


def _check_keys(node: Node, known: list[str], required: set[str], path: str) -> None:
    for key in node:
        if key not in known:
            raise ConfigError(f"{path}.{key} is not a known key. {suggest(str(key), known)}")
    for key in sorted(required - node.keys()):
        raise ConfigError(f"{path}.{key} is missing and has no default.")


def _convert(value: Any, hint: Any, *, path: str) -> Any:
    """Check a value against a field's type; nodes inside become objects.

    Returns:
        The value, or the object made from it.

    Raises:
        ConfigError: The value has another type.
    """
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


def _check_like(value: Any, default: Any, path: str) -> None:
    """Raise ConfigError unless a value is of its default's kind; torch.optim itself checks its range."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{path} must be true or false, got {value!r}.")
    elif isinstance(default, int | float):
        if not number:
            raise ConfigError(f"{path} must be a number, got {value!r}.")
    elif isinstance(default, tuple):
        numbers = [entry for entry in value if isinstance(entry, int | float)] if isinstance(value, tuple) else []
        if value != tuple(numbers) or len(numbers) != len(default):
            raise ConfigError(f"{path} must be a list of {len(default)} numbers, got {value!r}.")
