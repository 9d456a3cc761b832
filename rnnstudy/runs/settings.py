"""A run's configuration by dotted key, as values and as text."""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

NO_MITIGATION = "none"
"""Text for a group without a chosen member."""


def show_value(value: Any) -> str:
    """Return a config value as people write it; numbers are short, but two different ones never look the same."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value or value != value else repr(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def show_members(value: Any) -> str:
    """Return the chosen members of a group joined by " + "; "none" without any."""
    names = value if isinstance(value, list) else [value]
    return " + ".join(show_value(name) for name in names if name is not None) or NO_MITIGATION


def read_choices(config: dict[str, Any]) -> dict[str, str]:
    """Return the chosen members by group; empty if the configuration does not list them."""
    found = config.get("choices")
    if not isinstance(found, dict):
        return {}
    return {sys.intern(str(key)): sys.intern(show_members(value)) for key, value in found.items()}


ONLY_IF_SET = ("eval.solved_batch_size",)
"""Keys that count only if they are not null: a run of a version without such a key is the same run."""


def walk(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting: its dotted key and its value, which may be an empty mapping."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from walk(value, f"{prefix}{key}.")
        elif value is not None or f"{prefix}{key}" not in ONLY_IF_SET:
            yield f"{prefix}{key}", value


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """Return all settings as text by dotted key, without the choices and Python's own names."""
    return {
        # Thousands of runs hold the same few hundred texts.
        sys.intern(key): sys.intern(show_value(value))
        for key, value in walk(config)
        if value != {} and {"choices", "_target_", "hydra"}.isdisjoint(key.split("."))
    }
