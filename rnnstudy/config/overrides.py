"""Overrides spelled from Python objects, so that Python and the command line ask for the same run."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import OverrideParseException

from rnnstudy.config.build import TARGET
from rnnstudy.config.members import member, members
from rnnstudy.core.errors import ConfigError
from rnnstudy.models.base import Model

LISTS = ("init", "mitigation", "instrument")
"""Groups that give a run any number of members."""

_WORD = re.compile(r"(?!(?:null|true|false|inf|nan)$)[a-z_][\w.-]*", re.IGNORECASE | re.ASCII)


def overrides_of(settings: Mapping[str, Any]) -> list[str]:
    """Spell settings as overrides.

    Args:
        settings: Key of the configuration to its value: a plain value, a mapping of keys below it, a member such as
            `rnnstudy.tasks.Adding(seq_len=20)`, or a list of members or their names.

    Returns:
        Overrides such as "task=adding" and "task.seq_len=20"; values as in a member's yaml file need none.

    Raises:
        ConfigError: A value is something else, or a member has no yaml file.
    """
    return [override for key, value in settings.items() for override in _spell_setting(key, value)]


def ask_for_several(overrides: Sequence[str]) -> bool:
    """Return whether overrides give a key several values, such as "model=gru,lstm", and so ask for a sweep."""
    try:
        return any(each.is_sweep_override() for each in OverridesParser.create().parse_overrides(list(overrides)))
    except OverrideParseException:
        return False  # composing them reports the fault


def _spell_setting(key: str, value: Any) -> Iterator[str]:
    if key in LISTS and isinstance(value, Sequence) and not isinstance(value, str):
        names = [each if isinstance(each, str) else _name(key, each) for each in value]
        yield f"{key}={_spell(names)}"
        path = "model.init" if key == "init" else key
        for name, each in zip(names, value, strict=True):
            if not isinstance(each, str):
                yield from _changes(f"{path}.{name}", member(key, name), _plain(key, each))
    elif is_dataclass(value):
        name, node = _name(key, value), _plain(key, value)
        yield f"{key}={name}"
        if isinstance(value, Model) and node.pop("init"):
            yield from _spell_setting("init", _unnamed(value.init))
        yield from _changes(key, member(key, name), node)
    elif isinstance(value, Mapping):
        for name, below in value.items():
            yield from _spell_setting(f"{key}.{name}", below)
    else:
        yield f"{key}={_spell(_plain(key, value))}"


def _unnamed(inits: Mapping[str, Any]) -> list[Any]:
    """Return a model's initialisations as a list; raise ConfigError unless each has its file's name, which seeds it."""
    for given, init in inits.items():
        if given != (name := _name("init", init)):
            raise ConfigError(f"model.init must name each initialisation as its file: '{name}', got '{given}'.")
    return list(inits.values())


def _name(group: str, value: object) -> str:
    """Return the name of a member in its group; raise ConfigError if it has no yaml file."""
    package, _, name = type(value).__module__.rpartition(".")
    if not package.startswith("rnnstudy.") or name not in members(group):
        raise ConfigError(f"{group} must be a member that has a yaml file in conf/{group}, got {value!r:.80}.")
    return name


def _changes(path: str, default: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[str]:
    """Yield the overrides that change one node into another of the same class."""
    for key, value in node.items():
        given = default[key]
        if isinstance(value, dict) and isinstance(given, dict) and value.get(TARGET) == given.get(TARGET):
            yield from _changes(f"{path}.{key}", given, value)
        elif isinstance(given, dict) and value != given:
            # Hydra merges mappings; the keys of the other class must be removed first.
            yield f"~{path}.{key}"
            yield f"+{path}.{key}={_spell(value)}"
        elif value != given:
            yield f"{path}.{key}={_spell(value)}"


def _plain(key: str, value: Any) -> Any:
    """Return a value as a yaml file would hold it; raise ConfigError if none could."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case os.PathLike():
            return os.fspath(value)
        case Mapping():
            return {str(name): _plain(f"{key}.{name}", each) for name, each in value.items()}
        case Sequence():
            return [_plain(key, each) for each in value]
        case _ if is_dataclass(value) and not isinstance(value, type):
            named = {field.name: _plain(f"{key}.{field.name}", getattr(value, field.name)) for field in fields(value)}
            return {TARGET: f"{type(value).__module__}.{type(value).__qualname__}", **named}
        case _:
            raise ConfigError(f"{key} must be a member or a plain value, got {value!r:.80}.")


def _spell(value: Any) -> str:
    """Write a plain value in the grammar of Hydra's overrides."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return value if _WORD.fullmatch(value) else QuotedString(text=value, quote=Quote.single).with_quotes()
        case list():
            return f"[{','.join(map(_spell, value))}]"
        case dict():
            return f"{{{','.join(f'{key}:{_spell(each)}' for key, each in value.items())}}}"
        case _:
            return str(value)
