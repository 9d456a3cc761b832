"""State of every run in a folder, from the disk alone; needs no torch."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.core.text import override
from rnnstudy.runs.failure import PRUNED, read_failure
from rnnstudy.runs.folder import RECORDS, RunFolder
from rnnstudy.runs.ledger import Ledger, find_ledgers
from rnnstudy.runs.lock import Holder, holder_of, left_behind
from rnnstudy.runs.untrusted import find_mapping, read_regular, read_yaml

_CHECKPOINT = re.compile(r"step_(\d+)\.pt")
_NUM_STEPS = re.compile(r"^train:\n(?:  .*\n)*?  num_steps: (\d+)$", re.MULTILINE)
_LAUNCHER = re.compile(r"hydra/launcher=\w+|\+?hydra\.launcher\.[a-z]\w*=[\w.:/-]*", re.ASCII)
"""Words about Hydra that are allowed: the choice of a launcher, and plain values of its settings."""


class Condition(StrEnum):
    """Condition of a run, in the order of interest to the user."""

    RUNNING = "running"
    FAILED = "failed"
    DAMAGED = "damaged"
    INTERRUPTED = "interrupted"
    MISSING = "missing"
    PRUNED = "pruned"
    FINISHED = "finished"


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """State of one run.

    Args:
        folder: Folder of the run; it need not exist yet.
        condition: Condition of the run.
        step: Optimizer steps done; None if unknown.
        num_steps: Most optimizer steps of the run; None if unknown.
        detail: Why it failed, which process does it, or the like; empty if there is nothing to add.
    """

    folder: RunFolder
    condition: Condition
    step: int | None = None
    num_steps: int | None = None
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Runs below some folders.

    Args:
        runs: Runs in the order of their conditions.
        commands: Command lines that resume what is not finished, each with its number of runs.
    """

    runs: list[RunStatus]
    commands: dict[str, int]

    @property
    def counts(self) -> Mapping[Condition, int]:
        """Number of runs per condition."""
        return Counter(run.condition for run in self.runs)

    def to_json(self) -> dict[str, Any]:
        """Return the same as plain data."""
        return {
            "runs": [{**asdict(run), "folder": str(run.folder.path)} for run in self.runs],
            "commands": self.commands,
        }


def status_of(folder: RunFolder) -> RunStatus:
    """Return the state of the run in a folder."""
    holder = holder_of(folder.lock)
    if holder is not None:
        return _running(folder, holder)
    # `os.path.exists`, unlike that of a Path, raises no error in a folder without permission.
    if os.path.exists(folder.result):
        result = find_mapping(folder.result)
        if result is None or not isinstance(result.get("steps"), int):
            return _damaged(folder, folder.result)
        for file in (folder.config, folder.manifest):
            if not os.path.exists(file):
                return _damaged(folder, file)
        return RunStatus(folder=folder, condition=Condition.FINISHED, step=result["steps"])
    step, num_steps = _steps_done(folder), _num_steps(folder)
    failed = read_failure(folder)
    if failed is not None:
        condition = Condition.PRUNED if failed.kind == PRUNED else Condition.FAILED
        return RunStatus(folder=folder, condition=condition, step=step, num_steps=num_steps, detail=failed.error)
    if os.path.exists(folder.failure):
        return _damaged(folder, folder.failure)
    if not os.path.exists(folder.config):
        if os.path.exists(folder.manifest):
            return _damaged(folder, folder.config)
        return RunStatus(folder=folder, condition=Condition.MISSING)
    if num_steps is None:
        return _damaged(folder, folder.config)
    dead = left_behind(folder.lock)
    detail = f"process {dead.pid} on {dead.host} died" if dead is not None else "stopped"
    return RunStatus(folder=folder, condition=Condition.INTERRUPTED, step=step, num_steps=num_steps, detail=detail)


def _damaged(folder: RunFolder, file: Path) -> RunStatus:
    return RunStatus(folder=folder, condition=Condition.DAMAGED, detail=f"{file.name} cannot be read")


def _running(folder: RunFolder, holder: Holder) -> RunStatus:
    told = {name: figure for name, figure in holder.state.items() if isinstance(figure, int | float)}
    detail = f"process {holder.pid} on {holder.host} since {holder.since}"
    if "loss" in told:
        detail += f", loss {told['loss']:.3g}"
    if "solved" in told and "replicas" in told:
        detail += f", solved {told['solved']:g}/{told['replicas']:g}"
    step, num_steps = (int(told[name]) if isinstance(told.get(name), int) else None for name in ("step", "num_steps"))
    return RunStatus(folder=folder, condition=Condition.RUNNING, step=step, num_steps=num_steps, detail=detail)


def _steps_done(folder: RunFolder) -> int | None:
    """Return the steps of the newest checkpoint: where the run would resume."""
    with suppress(OSError):
        names = (_CHECKPOINT.fullmatch(name) for name in os.listdir(folder.checkpoints))
        return max((int(name[1]) for name in names if name), default=0)
    return 0


def _num_steps(folder: RunFolder) -> int | None:
    """Return the most steps of a run without parsing its whole configuration: there may be thousands of runs."""
    with suppress(OSError, ValueError):
        found = _NUM_STEPS.search(read_regular(folder.config).decode())
        return int(found[1]) if found else None
    return None


def list_runs(directories: Iterable[Path]) -> Listing:
    """Return the state of all runs in or below some folders, and of those that were asked for there.

    Raises:
        ConfigError: A folder does not exist, or there is no run.
    """
    directories = list(directories)
    for directory in directories:
        if not directory.is_dir():
            raise ConfigError(f"'{directory}' is no folder.")
    statuses: dict[Path, RunStatus] = {}
    commands: dict[Path, str] = {}
    damaged: list[RunStatus] = []
    for parent, folders in _found(directories):
        for folder in folders:
            statuses[folder.lock.absolute()] = status_of(folder)
        # The ledger used last gives the command that resumes a run.
        for ledger in find_ledgers(parent):
            try:
                _take(ledger, statuses, commands)
            except (RnnstudyError, OSError) as error:
                damaged.append(RunStatus(folder=RunFolder(ledger.path), condition=Condition.DAMAGED, detail=str(error)))
    if not statuses and not damaged:
        raise ConfigError(f"there is no run below {', '.join(map(str, directories))}.")
    order = list(Condition)
    runs = sorted([*statuses.values(), *damaged], key=lambda run: (order.index(run.condition), str(run.folder.path)))
    unfinished = {Condition.FAILED, Condition.INTERRUPTED, Condition.MISSING}
    left = [run for run in runs if run.condition in unfinished]
    told = Counter(_retrying(commands.get(run.folder.lock.absolute()) or _own_command(run.folder), run) for run in left)
    return Listing(runs=runs, commands={command: count for command, count in told.items() if command})


def _take(ledger: Ledger, statuses: dict[Path, RunStatus], commands: dict[Path, str]) -> None:
    """Add the runs of a ledger that have no folder, and the command that resumes any of its runs."""
    command = _harmless(ledger.command)
    for entry in ledger.entries():
        # Only runs beside the ledger: it may come from another machine, with other paths.
        folder = RunFolder(ledger.path.parents[2] / entry.folder.path.name)
        place = folder.lock.absolute()
        if place not in statuses:
            statuses[place] = status_of(folder)
        commands[place] = _led_to(folder, command, entry.job.config)


def _led_to(folder: RunFolder, command: str, config: Mapping[str, Any]) -> str:
    """Return a known command, with the folder's place added if the command would not lead to it from here."""
    key, place = ("output_dir", folder.path.parent) if config.get("run_dir") is None else ("run_dir", folder.path)
    there = config.get(key)
    if not command or not isinstance(there, str) or os.path.abspath(there) == os.path.abspath(place):
        return command
    return f"{command} {override(key, os.path.abspath(place))}"


def _retrying(command: str, run: RunStatus) -> str:
    """Return a command that retries a failed run even where the original one leaves such runs out."""
    is_left_out = run.condition is Condition.FAILED and "retry_failed=false" in command
    return f"{command} retry_failed=true" if is_left_out else command


def _harmless(command: str) -> str:
    """Return a command line, perhaps a stranger's, if it does nothing but call rnnstudy; else ""."""
    with suppress(ValueError):
        words = shlex.split(command)
        if words[:1] == ["rnnstudy"] and shlex.join(words) == command and not _names_code(words):
            return command
    return ""


def _names_code(words: Iterable[str]) -> bool:
    """Return whether words could make Hydra call any function: its own nodes and folders are not guarded."""
    return any(
        "_target_" in word
        or word.startswith(("-c", "--c", "-p", "--p"))
        or ("hydra" in word.lower() and not _LAUNCHER.fullmatch(word))
        for word in words
    )


def _own_command(folder: RunFolder) -> str:
    """Return the command that repeats a single run; empty if unknown."""
    overrides = (find_mapping(folder.manifest) or {}).get("overrides")
    if not isinstance(overrides, list) or not all(isinstance(each, str) for each in overrides):
        return ""
    with suppress(OSError, ValueError):
        config = read_yaml(folder.config)
        if isinstance(config, Mapping):
            return _led_to(folder, _harmless(shlex.join(["rnnstudy", "train", *overrides])), config)
    return ""


def _found(directories: Iterable[Path]) -> Iterator[tuple[Path, list[RunFolder]]]:
    """Yield the folders that hold runs or ledgers, each with its runs."""
    for directory in directories:
        if _is_run(directory):
            # The lock's path depends on the name of the run's folder, which "." and "x/.." hide.
            run = directory.resolve() if directory.name in {"", ".."} else directory
            yield run / RECORDS, [RunFolder(run)]
            continue
        for place, names, _ in os.walk(directory):
            parent = Path(place)
            runs = sorted(name for name in names if _is_run(parent / name))
            has_lists = RECORDS in names
            # Nothing within a run or the records is a run.
            names[:] = [name for name in names if name not in runs and name != RECORDS]
            if runs or has_lists:
                yield parent, [RunFolder(parent / name) for name in runs]


def _is_run(path: Path) -> bool:
    return any(os.path.exists(path / name) for name in ("config.yaml", "run.json", "result.json"))
