"""A run to do, before anything of it is built."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run to do.

    Args:
        config: The resolved configuration, with `choices`, the names of the chosen group members.
        overrides: What was set by hand; names the run.
        label: What the run is called on the screen.
    """

    config: Config
    overrides: list[str]
    label: str
