"""Errors that speak to the user, and the checks that raise them."""

import difflib
import math
from collections.abc import Iterable
from typing import Any


class RnnstudyError(Exception):
    """An error that the user can correct; the command line prints it as one line."""


class ConfigError(RnnstudyError, ValueError):
    """A setting that breaks a rule; the message names the setting, the rule, the value and the way out."""


class UnsuitedError(ConfigError):
    """An initialisation that cannot be applied to a model; the message says what it needs, `init` holds it."""

    def __init__(self, message: str, init: Any = None) -> None:
        """Keep the initialisation, so that a caller can name the models that suit it."""
        super().__init__(message)
        self.init = init


def require_at_least(name: str, value: float, minimum: float) -> None:
    """Raise ConfigError unless `value >= minimum` (NaN never is)."""
    if not value >= minimum:
        raise ConfigError(f"{name} must be at least {minimum}, got {value}.")


MOST = 1_000_000
"""Maximum number of time steps, symbols and the like: more than can be trained on, yet few enough to list in memory."""


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
"""Largest size of a factor or the like: what float32 can hold, with some room to spare."""


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
    """Return the allowed names, and the one closest to `name`: "Did you mean 'lstm'? Allowed: gru, lstm, rnn."."""
    choices = sorted(allowed)
    close = difflib.get_close_matches(name, choices, n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    return f"{hint}Allowed: {', '.join(choices) or 'nothing'}."


class Interrupted(KeyboardInterrupt):
    """Stop of a run that saved a checkpoint; `except Exception` must not take it for a failure.

    Attributes:
        signal: Number of the signal that stopped it; None if something else did.
    """

    signal: int | None = None
