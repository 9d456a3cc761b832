"""A run's configuration as text by dotted path."""

import json
import sys
from typing import Any

NO_MITIGATION = "none"
"""Shown where no member of a group is chosen."""


def show_value(value: Any) -> str:
    """Return a config value as people write it: numbers short, but never so short that two look the same."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value or value != value else repr(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def show_members(value: Any) -> str:
    """Return the chosen members of a group joined by " + "; "none" without any."""
    names = value if isinstance(value, list) else [value]
    return " + ".join(show_value(name) for name in names if name is not None) or NO_MITIGATION


def read_choices(config: dict[str, Any]) -> dict[str, str]:
    """Return the chosen members by group; empty if the configuration does not say."""
    found = config.get("choices")
    if not isinstance(found, dict):
        return {}
    return {sys.intern(str(key)): sys.intern(show_members(value)) for key, value in found.items()}


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return all settings as text by dotted path, without the choices and Python's own names."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if key in {"choices", "_target_", "hydra"}:
            continue
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            # Thousands of runs hold the same few hundred texts.
            flat[sys.intern(f"{prefix}{key}")] = sys.intern(show_value(value))
    return flat
