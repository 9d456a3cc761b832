"""From a configuration node to an optimizer of torch.optim."""

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from rnnstudy.config.build import TARGET, check_keys, locate, require_mapping
from rnnstudy.core.errors import ConfigError
from rnnstudy.training.optimizer import ELEMENTWISE, ReplicaOptimizer


def optimizer_factory(node: Any, *, path: str) -> Callable[[nn.Module], ReplicaOptimizer]:
    """Return a function that makes the optimizer of a network, as the node at `path` describes it.

    Raises:
        ConfigError: As for `build`, or the optimizer would couple the replicas.
    """
    node = require_mapping(node, path)
    target = node.get(TARGET)
    cls: Any = locate(target, f"{path}.{TARGET}")
    if not (inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer)):
        raise ConfigError(f"{path}.{TARGET} must name an optimizer of torch.optim, got '{target}'.")
    if cls.__name__ not in ELEMENTWISE:
        allowed = ", ".join(f"torch.optim.{name}" for name in sorted(ELEMENTWISE))
        rule = "must treat every weight by itself, or replicas would depend on each other"
        raise ConfigError(f"{path}.{TARGET} {rule}; {target} does not. Allowed: {allowed}.")
    arguments = {key: tuple(each) if isinstance(each, list) else each for key, each in node.items() if key != TARGET}
    parameters = list(inspect.signature(cls).parameters.values())[1:]
    required = {parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty}
    check_keys(arguments, [parameter.name for parameter in parameters], required, path)
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


def _check_like(value: Any, default: Any, path: str) -> None:
    """Raise ConfigError unless a value has the type of its default; torch.optim itself checks the range."""
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
