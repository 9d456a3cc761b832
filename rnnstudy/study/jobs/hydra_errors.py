"""Hydra's errors in one line that names the way out."""

import difflib
import re
from collections.abc import Sequence
from typing import Any, cast

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnstudy.config.folder import conf_folder
from rnnstudy.core.errors import suggest
from rnnstudy.core.text import override as as_override
from rnnstudy.runs.groups import FILES, SEVERAL
from rnnstudy.runs.settings import walk

_LAUNCHERS = ("basic", "joblib", "submitit_slurm")

TO_INSTALL = "joblib (this machine's cores) and submitit_slurm (a cluster) come with: pip install 'rnnstudy[cluster]'"
"""How to install the launchers that come with an extra."""


def explain_missing(error: MissingConfigException) -> str:
    """Return which members exist in place of a missing one."""
    name = error.missing_cfg_file or ""
    group, _, member = name.rpartition("/")
    members = [path.stem for path in (conf_folder() / group).glob("*.yaml")] if group in FILES else []
    if group == "hydra/launcher":
        near = difflib.get_close_matches(member, _LAUNCHERS, 1)
        meant = f"Did you mean {near[0]}? " if near and near[0] != member else ""
        return f"There is no hydra/launcher={member} here. {meant}{TO_INSTALL}"
    if not members:
        return f"There is no configuration file '{name}'."
    return f"{group} has no member '{member}'. {suggest(member, members)}"


def explain(error: Exception, arguments: Sequence[str]) -> str:
    """Return Hydra's error in one line instead of several."""
    if isinstance(error, OverrideParseException):
        reason = (error.message or "").partition("\n")[0]
        quotes = _quoted(str(error.override))
        return f"Cannot read '{error.override}': {reason}. An override is key=value, a list key=[a,b].{quotes}"
    if "Ambiguous value for argument" in str(error):
        argument = str(error).partition("'")[2].partition("'")[0]
        return f"{argument} holds several values: add -m to run each of them, or quote the value to have it as one."
    found = re.search(r"Could not override '([^']+)'", str(error))
    if isinstance(error, ConfigCompositionException) and found:
        return _explain_key(found[1].partition("@")[0], arguments)
    text = str(error.__cause__) if isinstance(error.__cause__, OmegaConfBaseException) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("object_type")]
    return " ".join(lines)


def _quoted(override: str) -> str:
    """Return how to write a value with letters that Hydra cannot read unquoted, such as ü, ~ or a blank."""
    key, _, value = override.partition("=")
    if not value or re.fullmatch(r"[\w./+,:\[\]{}()'\"=-]*", value, re.ASCII):
        return ""
    return f" Such a value is quoted twice, for the shell and for Hydra: {as_override(key, value)}."


def _elsewhere(key: str, config: DictConfig) -> str:
    """Return where a key of this name is, if it is nested deeper."""
    known = walk(cast(dict[str, Any], OmegaConf.to_container(config)))
    places = [place for place, _ in known if place.endswith(f".{key}")]
    return f"Did you mean {' or '.join(places)}? " if places else ""


def _explain_key(key: str, arguments: Sequence[str]) -> str:
    """Return which keys exist in place of an unknown one."""
    others = [each for each in arguments if not each.startswith("-") and not each.lstrip("+~").startswith(key)]
    chosen_groups = (*FILES, "hydra/launcher")
    groups = [argument for argument in others if argument.partition("=")[0] in chosen_groups and "," not in argument]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = hydra.compose("config", groups, return_hydra_config=True)
    if not key.startswith("hydra"):
        del config.hydra
    parts, known = key.split("."), ""
    for group, place in SEVERAL.items():
        member = key.removeprefix(f"{place}.").partition(".")[0]
        chosen = any(argument.startswith(f"{group}=") and member in argument for argument in arguments)
        if key.startswith(f"{place}.") and not chosen and (conf_folder() / group / f"{member}.yaml").exists():
            return f"{key} is a key of {member}, which is not chosen: add it, as in {group}=[{member}]."
    node: Any = config
    for part in parts:
        if not isinstance(node, DictConfig) or part not in node:
            allowed = [name for name in node if name != "_target_"] if isinstance(node, DictConfig) else []
            return f"{key} is not a known key. {_elsewhere(key, config)}{suggest(part, map(str, allowed))}"
        known, node = f"{known}.{part}".lstrip("."), node[part]
    return f"{key} cannot be overridden."
