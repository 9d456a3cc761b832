"""What makes a run this run: the part of its configuration that can change its figures."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnstudy.core.errors import ConfigError
from rnnstudy.core.reading import read_json, read_yaml
from rnnstudy.core.run_folder import RunFolder, partial_of
from rnnstudy.report.fields import UnreadableRunError
from rnnstudy.report.read import read_run

UNESSENTIAL = (
    "study",
    "output_dir",
    "run_dir",
    "one_at_a_time",
    "retry_failed",
    "choices",
    "numerics.threads",
    "train.checkpoint_interval",
    "train.kept_checkpoints",
)
"""Keys that change no figure of a run."""

_MOST_TOLD = 180
"""Bytes of a folder's name before the hash: a file system has room for 255."""

DIGITS = 8
"""Hexadecimal digits of the hash in a folder's name."""


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def essence(config: Mapping[str, Any]) -> dict[str, Any]:
    """What can change the figures, flat, in the order given (that of mitigations and initialisations counts)."""
    return {
        key: _one_spelling(value)
        for key, value in flatten(config).items()
        if not any(key == name or key.startswith(f"{name}.") for name in UNESSENTIAL)
    }


def _one_spelling(value: Any) -> Any:
    """The same for 1 and 1.0, alone and in lists: no key takes both for different things."""
    if isinstance(value, list):
        return [_one_spelling(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def fingerprint(config: Mapping[str, Any]) -> str:
    """A short hash of what can change the figures."""
    return hashlib.sha256(whole_essence(config).encode()).hexdigest()[:DIGITS]


def are_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two configurations have the same figures; of ten thousand, two may share a fingerprint that have not."""
    return whole_essence(one) == whole_essence(other)


def whole_essence(config: Mapping[str, Any]) -> str:
    """What is hashed: all that can change the figures, in one text."""
    inits = config.get("model", {}).get("init")
    inits = list(inits) if isinstance(inits, Mapping) else []
    return json.dumps([list(config.get("mitigation", {})), inits, sorted(essence(config).items())])


def telling_name(config: Mapping[str, Any], overrides: list[str]) -> str:
    """Name a run by model, initialisations, mitigations and the values set by hand, then its hash.

    Args:
        config: The resolved configuration, with `choices`.
        overrides: What was set by hand, such as "task.lag=40".

    Returns:
        A name fit for a folder, such as "lstm+clip_norm_lag=40_1a2b3c4d".
    """
    told = "_".join(_told(config, overrides)).encode()[:_MOST_TOLD].decode(errors="ignore")
    return f"{told}_{fingerprint(config)}"


def short_name(config: Mapping[str, Any], overrides: list[str]) -> str:
    """Name a run as `telling_name` does, for people: without the hash, such as "lstm+clip_norm lag=40"."""
    return " ".join(_told(config, overrides))


def _told(config: Mapping[str, Any], overrides: list[str]) -> list[str]:
    choices = config["choices"]
    values = []
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key in UNESSENTIAL:
            continue
        if "." in key or key in {"task", "optimizer", "schedule", "seed", "replicas"}:
            # A list such as [50,200] reads 50-200.
            plain = value.removeprefix("[").removesuffix("]")
            short = "".join(letter if letter.isalnum() or letter in "-.+" else "-" for letter in plain)
            values.append(f"{key.rpartition('.')[2]}={short[:24]}")
    return ["+".join([choices["model"], *choices["init"], *choices["mitigation"]]), *values]


def find_run_folder(
    config: Mapping[str, Any], overrides: list[str], known: Mapping[str, str] | None = None
) -> RunFolder:
    """Where this configuration runs: the folder it has already, or a new one of a telling name.

    Args:
        config: The resolved configuration, with `choices`.
        overrides: What was set by hand.
        known: What `folders_by_fingerprint` gave for `output_dir`; looked up if None.

    Returns:
        The run folder, which need not exist.
    """
    if config["run_dir"] is not None:
        return RunFolder(Path(config["run_dir"]))
    parent = Path(config["output_dir"])
    own = parent / telling_name(config, overrides)
    if own.is_dir():
        # Others of its hash are copies.
        return RunFolder(own)
    known = folders_by_fingerprint(parent) if known is None else known
    return RunFolder(parent / known.get(fingerprint(config), own.name))


def folders_by_fingerprint(parent: Path) -> dict[str, str]:
    """The names of the run folders in a folder, by the hash at their end; of several the shortest, then the first."""
    try:
        with os.scandir(parent) as entries:
            names = sorted((each.name for each in entries if each.is_dir()), key=lambda it: (len(it), it), reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name.rpartition("_")[2]: name for name in names}


def require_fit(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Refuse a folder in which this configuration cannot be run or resumed.

    Raises:
        ConfigError: It is a file, holds something else, another run, or a damaged one.
    """
    if not folder.path.exists():
        return
    if not folder.path.is_dir():
        raise ConfigError(f"{folder.path} is a file, not a folder; choose another run_dir.")
    linked = sorted(path.name for path in folder.path.iterdir() if path.is_symlink())
    if linked:
        raise ConfigError(
            f"{folder.path / linked[0]} is a link, and would be written through; put what it names in its place."
        )
    # Listed before: another process may begin the same run between the two.
    others = set(folder.path.iterdir()) - _left_of_a_start(folder)
    if folder.config.exists():
        require_same(folder, config)
    elif others:
        raise ConfigError(
            f"{folder.path} is not empty and holds no config.yaml: it is no run, or a damaged one. "
            "Move it away, or choose another run_dir."
        )
    _require_whole(folder)


def _require_whole(folder: RunFolder) -> None:
    """Refuse a folder whose run cannot be resumed, or whose result cannot be used.

    Raises:
        ConfigError: A file is damaged.
    """
    anew = "Move the folder away to run it anew."
    try:
        manifest = read_json(folder.manifest) if folder.manifest.exists() or folder.is_finished else {}
    except FileNotFoundError:
        raise ConfigError(f"{folder.path} is damaged: {folder.manifest.name} is missing. {anew}") from None
    except ValueError:
        raise ConfigError(f"{folder.manifest} is damaged: it is no JSON. {anew}") from None
    if not isinstance(manifest, dict):
        raise ConfigError(f"{folder.manifest} is damaged: it holds no mapping. {anew}")
    if not folder.is_finished:
        return
    try:
        read_run(folder, label=folder.path.name)
    except UnreadableRunError as error:
        if error.args[0].startswith(folder.result.name):
            anew = "Remove that file, and the same command writes it again from the last checkpoint."
        raise ConfigError(f"{folder.path} is damaged: {error}. {anew}") from None


def _left_of_a_start(folder: RunFolder) -> set[Path]:
    """What a run may leave that ended before its configuration was written: killed, or for want of space."""
    return {folder.lock, folder.history, folder.failure, partial_of(folder.config), partial_of(folder.failure)}


def require_same(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Refuse a folder that holds the run of another configuration.

    Raises:
        ConfigError: Names the folder and what differs.
    """
    try:
        other = read_yaml(folder.config)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder.config} cannot be read ({error}); move the folder away.") from None
    if not isinstance(other, Mapping):
        raise ConfigError(f"{folder.config} is not the configuration of a run; move the folder away.")
    theirs, ours = essence(other), essence(config)
    if are_same(other, config):
        return
    keys = [key for key in {**theirs, **ours} if theirs.get(key, "unset") != ours.get(key, "unset")]
    shown = ", ".join(f"{key} ({theirs.get(key, 'unset')} there, {ours.get(key, 'unset')} here)" for key in keys[:3])
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    raise ConfigError(
        f"{folder.path} holds a run of another configuration: {shown or 'the order of the mitigations'}{more}. "
        f"Choose another run_dir, or none to have one named by the configuration."
    )
