"""A run to do, before anything is built."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Run to do.

    Args:
        config: Resolved configuration, with `choices`, the names of the chosen group members.
        overrides: Settings given by hand; they name the run.
        label: Name of the run on the screen.
    """

    config: Config
    overrides: list[str]
    label: str
