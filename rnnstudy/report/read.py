"""Run folders, read into plain data."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.core.run_folder import FORMAT, RunFolder
from rnnstudy.report.fields import Fields, UnreadableRunError, is_number
from rnnstudy.report.log import Track, read_curves, read_metrics

REPORT = "report"
"""Name of the folder, within the compared one, that holds the report."""


NO_CRITERION = "no criterion"
"""Said of a task that nobody has said when it is solved."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a run's task said of itself.

    Args:
        chance_loss: Loss at the answer of the best guess that does not know what it depends on; None if unknown.
        chance_accuracy: Likewise, from 0 to 1; None if the task has no accuracy.
        memoryless_loss: Loss as trained on of the best guess that remembers nothing; None if unknown.
        solved_when: The rule, for people, e.g. "accuracy at least 0.99".
        seq_len: Time steps per sequence.
        informative_steps: Time steps that hold what the answer depends on.
        loss_at_end: Whether the loss is at the last time step alone; elsewhere the gradient at a time step is also that
            of the outputs around it, and does not tell how far the gradient of the answer reaches.
    """

    chance_loss: float | None
    chance_accuracy: float | None
    memoryless_loss: float | None
    solved_when: str
    seq_len: int
    informative_steps: tuple[int, ...]
    loss_at_end: bool


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a run ended; lists have one entry per replica.

    Args:
        status: "solved", "finished" or "diverged".
        steps_to_solve: Optimizer steps; None where a replica was not solved.
        steps: Optimizer steps run.
        final: Metric to last values; None where a replica has none.
        wall_seconds: Duration of the run.
    """

    status: tuple[str, ...]
    steps_to_solve: tuple[int | None, ...]
    steps: int
    final: dict[str, tuple[float | None, ...]]
    wall_seconds: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder.

    Args:
        path: The folder.
        label: Its path from the compared folder, for people and links.
        config: The resolved configuration.
        replicas: Networks trained side by side.
        seed: Seed of the first replica.
        device: E.g. "cpu".
        facts: What the task says of itself.
        metrics: Tag to scalars over steps.
        curves: Tag to curves over time steps.
        result: None for a run that has not ended.
    """

    path: Path
    label: str
    config: dict[str, Any]
    replicas: int
    seed: int
    device: str
    facts: Facts
    metrics: dict[str, Track]
    curves: dict[str, Track]
    result: Result | None


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All runs below a folder.

    Args:
        directory: The folder.
        runs: Those that could be read.
        unreadable: One line for each that could not, naming it and why.
    """

    directory: Path
    runs: tuple[Run, ...]
    unreadable: tuple[str, ...]


def find_run_folders(directory: Path) -> Iterator[RunFolder]:
    """Yield the run folders at or below `directory`, in the order of their names.

    Yields:
        Folders with at least one file of a run. Hidden folders are passed over: Hydra keeps a
        `config.yaml` of its own in `.hydra`.
    """
    for parent, children, _ in os.walk(directory):
        folder = RunFolder(Path(parent))
        files = (folder.config, folder.manifest, folder.metrics, folder.curves, folder.result)
        skipped = {REPORT} if folder.path == directory else set()
        if any(file.is_file() for file in files):
            yield folder
            skipped.add(folder.checkpoints.name)
        children[:] = sorted(child for child in children if child not in skipped and not child.startswith("."))


def read_sweep(directory: Path) -> Sweep:
    """Read every run at or below `directory`; one bad run does not keep the others out.

    Returns:
        The readable runs and a line on each of the rest.

    Raises:
        RnnstudyError: There is no such folder, or no run in it.
    """
    if not directory.is_dir():
        raise RnnstudyError(f"There is no folder {directory}. Runs come from `rnnstudy train ...`.")
    runs: list[Run] = []
    unreadable: list[str] = []
    for folder in find_run_folders(directory):
        label = folder.path.relative_to(directory).as_posix()
        try:
            runs.append(read_run(folder, label=label))
        except (UnreadableRunError, OSError) as error:
            unreadable.append(" ".join(f"{label}: {error}".split()))
    if not runs and not unreadable:
        raise RnnstudyError(
            f"No run in {directory}: a run is a folder with config.yaml and run.json, made by `rnnstudy train ...`."
        )
    if not runs:
        raise RnnstudyError(f"None of {len(unreadable)} runs in {directory} can be read; the first: {unreadable[0]}.")
    return Sweep(directory=directory, runs=tuple(runs), unreadable=tuple(unreadable))


def read_run(folder: RunFolder, *, label: str) -> Run:
    """Read one run folder; a file that is missing, corrupt or of a newer format is an UnreadableRunError.

    Returns:
        The run; one without `result.json` has no result.
    """
    manifest = Fields(_parse_json(folder.manifest), folder.manifest.name)
    _check_format(manifest)
    replicas = manifest.integer("replicas", minimum=1)
    return Run(
        path=folder.path,
        label=label,
        config=_parse_config(folder.config),
        replicas=replicas,
        seed=manifest.integer("seed"),
        device=manifest.text("device"),
        facts=_facts(manifest.nested("facts")),
        metrics=read_metrics(folder.metrics, replicas),
        curves=read_curves(folder.curves, replicas),
        result=_result(folder, replicas) if folder.is_finished else None,
    )


def _parse_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UnreadableRunError(f"{path.name} is missing") from error
    except ValueError as error:
        raise UnreadableRunError(f"{path.name} is no JSON") from error


def _parse_config(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_bytes())
    except FileNotFoundError as error:
        raise UnreadableRunError(f"{path.name} is missing") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UnreadableRunError(f"{path.name} is no YAML") from error
    return Fields(content, path.name).content


def _check_format(fields: Fields) -> None:
    found = fields.integer("format", minimum=1)
    if found > FORMAT:
        raise UnreadableRunError(
            f"{fields.source} has format {found}, this version reads up to {FORMAT}: use a newer rnnstudy"
        )


def _facts(fields: Fields) -> Facts:
    solved_at = fields.optional_number("solved_at")
    if solved_at is None:
        rule = NO_CRITERION
    else:
        rule = f"{fields.text('solved_metric')} {fields.text('solved_when').replace('_', ' ')} {solved_at:g}"
    steps = fields.items("informative_steps")
    if not all(isinstance(step, int) for step in steps):
        raise UnreadableRunError(f"{fields.source}: 'informative_steps' must be whole numbers")
    return Facts(
        chance_loss=fields.optional_number("chance_loss"),
        chance_accuracy=fields.optional_number("chance_accuracy"),
        memoryless_loss=fields.optional_number("memoryless_loss"),
        solved_when=rule,
        seq_len=fields.integer("seq_len", minimum=1),
        informative_steps=tuple(steps),
        loss_at_end=fields.flag("loss_at_end"),
    )


def _result(folder: RunFolder, replicas: int) -> Result:
    fields = Fields(_parse_json(folder.result), folder.result.name)
    _check_format(fields)
    status = fields.items("status", length=replicas)
    unknown = [state for state in status if state not in {"solved", "finished", "diverged"}]
    if unknown:
        raise UnreadableRunError(f"{fields.source}: 'status' holds {unknown[0]!r:.60}")
    to_solve = fields.items("steps_to_solve", length=replicas)
    if not all(value is None or (isinstance(value, int) and value >= 0) for value in to_solve):
        raise UnreadableRunError(f"{fields.source}: 'steps_to_solve' must be whole numbers or null")
    finals = fields.nested("final")
    final: dict[str, tuple[float | None, ...]] = {}
    for key in finals.content:
        values = finals.items(key, length=replicas)
        if not all(value is None or is_number(value) for value in values):
            raise UnreadableRunError(f"{finals.source}: '{key}' must be numbers or null")
        final[str(key)] = tuple(None if value is None else float(value) for value in values)
    return Result(
        status=tuple(status),
        steps_to_solve=tuple(to_solve),
        steps=fields.integer("steps"),
        final=final,
        wall_seconds=fields.number("wall_seconds"),
    )
