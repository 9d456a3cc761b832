"""Whether a folder can take a run: it must be empty, or hold that very run, undamaged."""

from collections.abc import Mapping
from typing import Any

from rnnstudy.core.errors import ConfigError
from rnnstudy.runs.fields import UnreadableRunError
from rnnstudy.runs.folder import RunFolder, partial_of
from rnnstudy.runs.identity import are_same, essence
from rnnstudy.runs.run import read_run
from rnnstudy.runs.untrusted import read_json, read_yaml


def require_fit(folder: RunFolder, config: Mapping[str, Any], data_digest: str | None) -> None:
    """Refuse a folder in which a configuration cannot be run or resumed; it need not exist.

    Raises:
        ConfigError: It is a file, is damaged, or holds something else, another run, or this one on data with another
            digest than `data_digest` (None without data).
    """
    if not folder.path.exists():
        return
    if not folder.path.is_dir():
        raise ConfigError(f"{folder.path} is a file, not a folder; choose another run_dir.")
    linked = sorted(path for path in folder.path.iterdir() if path.is_symlink())
    if linked:
        raise ConfigError(f"{linked[0]} is a link, and would be written through; put what it names in its place.")
    # What a run may leave that was killed, or found no space, before it wrote its configuration.
    left = {folder.lock, folder.history, folder.failure, partial_of(folder.config), partial_of(folder.failure)}
    # Listed first: another process may begin the same run between the two.
    others = set(folder.path.iterdir()) - left
    if folder.config.exists():
        _require_same(folder, config)
    elif others:
        told = f"{folder.path} is not empty and holds no config.yaml: it is no run, or a damaged one."
        raise ConfigError(f"{told} Move it away, or choose another run_dir.")
    manifest = _require_whole(folder)
    if manifest is not None and manifest.get("data_digest") != data_digest:
        told = f"{folder.path} holds a run on other data: the file that the task reads has changed since."
        raise ConfigError(f"{told} Choose a run_dir for the new one, or move the folder away.")


def _require_whole(folder: RunFolder) -> dict[str, Any] | None:
    """Return run.json, None if it is not written yet; raise ConfigError if it or the result is damaged."""
    anew = "Move the folder away to run it anew."
    if not folder.manifest.exists() and not folder.is_finished:
        return None
    try:
        manifest = read_json(folder.manifest)
    except FileNotFoundError:
        raise ConfigError(f"{folder.path} is damaged: {folder.manifest.name} is missing. {anew}") from None
    except ValueError:
        raise ConfigError(f"{folder.manifest} is damaged: it is no JSON. {anew}") from None
    if not isinstance(manifest, dict):
        raise ConfigError(f"{folder.manifest} is damaged: it holds no mapping. {anew}")
    try:
        if folder.is_finished:
            read_run(folder, label=folder.path.name)
    except UnreadableRunError as error:
        if error.args[0].startswith(folder.result.name):
            anew = "Remove that file, and the same command writes it again from the last checkpoint."
        raise ConfigError(f"{folder.path} is damaged: {error}. {anew}") from None
    return manifest


def _require_same(folder: RunFolder, config: Mapping[str, Any]) -> None:
    """Raise ConfigError, with the differences, for a folder with the run of another configuration."""
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
