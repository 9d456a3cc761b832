"""Identity of a run: the part of its configuration that can change its figures."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.groups import SINGLE
from rnnstudy.runs.settings import walk

_NAMES_AND_PLACES = ("study", "output_dir", "run_dir", "one_at_a_time", "retry_failed", "choices", "compare")
UNESSENTIAL = (*_NAMES_AND_PLACES, "numerics.threads", "train.checkpoint_interval", "train.kept_checkpoints")
"""Keys that change no figure of a run, nor do those below them."""

_MOST_TOLD = 180
"""Most bytes of a folder's name before the hash: a file system has room for 255."""

_LONGEST_VALUE = 24
"""Most letters of a setting's value there; a name for people has it whole."""

DIGITS = 8
"""Hexadecimal digits of the hash in a folder's name."""


def changes_figures(key: str) -> bool:
    """Return whether a setting can change the figures of a run."""
    return not any(key == name or key.startswith(f"{name}.") for name in UNESSENTIAL)


def essence(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what can change the figures, flat, in the given order (that of mitigations and initialisations counts)."""
    return {key: _one_spelling(value) for key, value in walk(config) if changes_figures(key)}


def _one_spelling(value: Any) -> Any:
    """Return 1 for 1.0, also in lists: no key distinguishes the two."""
    if isinstance(value, list):
        return [_one_spelling(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def fingerprint(config: Mapping[str, Any]) -> str:
    """Return a short hash of what can change the figures."""
    return hashlib.sha256(whole_essence(config).encode()).hexdigest()[:DIGITS]


def are_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two configurations have the same figures; different ones may share a fingerprint by chance."""
    return whole_essence(one) == whole_essence(other)


def whole_essence(config: Mapping[str, Any]) -> str:
    """Return the text that is hashed: everything that can change the figures."""
    inits = config.get("model", {}).get("init")
    inits = list(inits) if isinstance(inits, Mapping) else []
    return json.dumps([list(config.get("mitigation", {})), inits, sorted(essence(config).items())])


def telling_name(config: Mapping[str, Any], overrides: list[str]) -> str:
    """Name a run by model, inits, mitigations, overrides and hash, such as "lstm+clip_norm_lag=40_1a2b3c4d"."""
    told = "_".join(_told(config, overrides, _LONGEST_VALUE)).encode()[:_MOST_TOLD].decode(errors="ignore")
    return f"{told}_{fingerprint(config)}"


def short_name(config: Mapping[str, Any], overrides: list[str]) -> str:
    """Name a run as `telling_name` does, for people: without the hash, such as "lstm+clip_norm lag=40"."""
    return " ".join(_told(config, overrides))


def _told(config: Mapping[str, Any], overrides: list[str], most: int | None = None) -> list[str]:
    choices = config["choices"]
    values = []
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if changes_figures(key) and ("." in key or key in {*SINGLE, "seed", "replicas"} - {"model"}):
            # A list such as [50,200] reads 50-200.
            plain = value.removeprefix("[").removesuffix("]")
            short = "".join(letter if letter.isalnum() or letter in "-.+" else "-" for letter in plain)
            values.append(f"{key.rpartition('.')[2]}={short[:most]}")
    return ["+".join([choices["model"], *choices["init"], *choices["mitigation"]]), *values]


def find_run_folder(config: Mapping[str, Any], overrides: list[str], known: dict[str, str] | None = None) -> RunFolder:
    """Return a configuration's folder: `run_dir`, the one it has (from `known`, else looked up), or a new one."""
    if config["run_dir"] is not None:
        return RunFolder(Path(config["run_dir"]))
    parent = Path(config["output_dir"])
    own = parent / telling_name(config, overrides)
    if own.is_dir():
        # Other folders with its hash are copies.
        return RunFolder(own)
    known = folders_by_fingerprint(parent) if known is None else known
    return RunFolder(parent / known.get(fingerprint(config), own.name))


def folders_by_fingerprint(parent: Path) -> dict[str, str]:
    """Map the hash at the end of each run folder's name to the name; of several, the shortest, then the first, wins."""
    try:
        with os.scandir(parent) as entries:
            names = sorted((each.name for each in entries if each.is_dir()), key=lambda it: (len(it), it), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name.rpartition("_")[2]: name for name in names}
