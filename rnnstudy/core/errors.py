"""Errors that speak to the user, and the checks that raise them."""

import difflib
import math
from collections.abc import Iterable


class RnnstudyError(Exception):
    """Something the user can put right; the command line prints it as one line."""


class ConfigError(RnnstudyError, ValueError):
    """A setting that breaks a rule: names the setting, the rule, the value and the way out."""


def require_at_least(name: str, value: float, minimum: float) -> None:
    """Raise ConfigError unless `value >= minimum` (NaN never is)."""
    if not value >= minimum:
        raise ConfigError(f"{name} must be at least {minimum}, got {value}.")


MOST = 1_000_000
"""The most time steps, symbols or the like: more than can be trained on, yet few enough to be listed in memory."""


def require_size(name: str, value: int, minimum: int) -> None:
    """Raise ConfigError unless `minimum <= value <= 1 000 000`."""
    require_at_least(name, value, minimum)
    if value > MOST:
        raise ConfigError(f"{name} must be at most {MOST}, got {value}.")


def require_above(name: str, value: float, bound: float) -> None:
    """Raise ConfigError unless `value > bound` (NaN never is)."""
    if not value > bound:
        raise ConfigError(f"{name} must be above {bound}, got {value}.")


def require_between(name: str, value: float, low: float, high: float) -> None:
    """Raise ConfigError unless `low <= value <= high` (NaN never is)."""
    if not low <= value <= high:
        raise ConfigError(f"{name} must be between {low} and {high}, got {value}.")


LARGEST = 1e30
"""The largest size of a factor or the like: with some room to spare what float32 can hold."""


def require_finite(name: str, value: float) -> None:
    """Raise ConfigError unless `value` is a number of at most 1e30 in size."""
    if not abs(value) <= LARGEST:
        raise ConfigError(f"{name} must be a finite number, at most {LARGEST:g} in size, got {value}.")


def require_limit(name: str, value: float) -> None:
    """Raise ConfigError unless `value` is above 0 and at most 1e30, or infinite: no limit."""
    require_above(name, value, 0)
    if not math.isinf(value):
        require_finite(name, value)


def suggest(name: str, allowed: Iterable[str]) -> str:
    """Say what is allowed in place of `name`, the likeliest slip first.

    Returns:
        A sentence such as "Did you mean 'lstm'? Allowed: gru, lstm, rnn."
    """
    choices = sorted(allowed)
    close = difflib.get_close_matches(name, choices, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    return f"{hint}Allowed: {', '.join(choices) or 'nothing'}."


class Interrupted(KeyboardInterrupt):
    """A run was told to stop, and saved a checkpoint; no `except Exception` may take it for a failure.

    Attributes:
        signal: The number of the signal that asked for it; None if something else did.
    """

    signal: int | None = None
