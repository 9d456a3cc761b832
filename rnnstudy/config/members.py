"""Members of a group, as their yaml files have them."""

from collections.abc import Callable
from typing import Any

import yaml

from rnnstudy.config.build import TARGET, build
from rnnstudy.config.folder import conf_folder
from rnnstudy.core.errors import ConfigError
from rnnstudy.core.text import join
from rnnstudy.models.base import Model


def members(group: str) -> list[str]:
    """Return the names of a group's members in alphabetical order."""
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def member(group: str, name: str) -> dict[str, Any]:
    """Return the configuration node of a member: its `_target_` and its arguments."""
    node = yaml.safe_load((conf_folder() / group / f"{name}.yaml").read_text())
    return node if TARGET in node else node[name]


def on_by_default(group: str) -> list[str]:
    """Return the members of a group of several, such as "instrument", that a run has unless its user chooses others."""
    defaults = yaml.safe_load((conf_folder() / "config.yaml").read_text())["defaults"]
    listed = (each.get(group) for each in defaults if isinstance(each, dict))
    return next((names for names in listed if isinstance(names, list)), [])


def suited_models(require_suits: Callable[[Model], None]) -> str:
    """Name the models, as in their yaml files, for which a function raises no ConfigError: "all models but lru"."""
    suited, others = [], []
    for name in members("model"):
        try:
            require_suits(build(member("model", name), Model, path=f"model={name}"))
        except ConfigError:
            others.append(name)
        else:
            suited.append(name)
    if len(suited) <= len(others):
        return join(suited)
    return f"all models but {join(others)}" if others else "all models"
