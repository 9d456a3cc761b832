"""Run folders, read into plain data."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rnnstudy.core.criterion import Criterion
from rnnstudy.runs.digest import Digest, PerReplica, make_digest, read_digest, read_per_replica
from rnnstudy.runs.events import Events, read_events
from rnnstudy.runs.fields import MOST, Fields, UnreadableRunError
from rnnstudy.runs.folder import FORMAT, RunFolder
from rnnstudy.runs.lock import holder_of
from rnnstudy.runs.logs import Track, read_curves, read_metrics
from rnnstudy.runs.outcome import Standing, last_values, standing_so_far
from rnnstudy.runs.settings import flatten, read_choices
from rnnstudy.runs.untrusted import read_json, read_regular, read_yaml

NO_CRITERION = "no criterion"
"""Text for a task without a criterion."""

EDITED_ADJOINTS = frozenset({"clip_adjoint", "h_detach", "truncated_bptt"})
"""Mitigations that edit adjoints, for runs of versions that did not store this."""

_COMPUTES = ("rnnstudy", "torch")  # packages that decide the figures of a run

MOST_REPLICAS = 100_000
"""Most replicas of a run: far more than anyone trains, few enough for a line of its log to fit into the memory."""


@dataclass(frozen=True, kw_only=True)
class TaskFacts:
    """Facts about its task that a run stored.

    Args:
        chance_loss: Loss at the answer of the best guess that does not know the informative inputs; None if unknown.
        chance_accuracy: Likewise, from 0 to 1; None if the task has no accuracy.
        memoryless_loss: Loss as trained on of the best guess that remembers nothing; None if unknown.
        criterion: When a replica has solved the task; None without a criterion.
        seq_len: Time steps per sequence.
        informative_steps: Time steps that hold what the answer depends on.
        loss_at_end: Whether only the last time step has a loss. Otherwise the gradient at a time step includes that of
            the outputs around it, and does not show how far the gradient of the answer reaches.
        answer_gradient: Whether, in that case, the run recorded the gradient of the answer's loss alone, with an answer
            at the last time step.
    """

    chance_loss: float | None
    chance_accuracy: float | None
    memoryless_loss: float | None
    criterion: Criterion | None
    seq_len: int
    informative_steps: tuple[int, ...]
    loss_at_end: bool
    answer_gradient: bool = False

    @property
    def has_answer_gradient(self) -> bool:
        """Whether the run shows how far back the gradient of the answer reaches."""
        return self.loss_at_end or self.answer_gradient

    @property
    def solved_when(self) -> str:
        """Criterion for people, e.g. "accuracy at least 0.99"."""
        return self.criterion.rule if self.criterion else NO_CRITERION

    @property
    def longest_lag(self) -> int:
        """Largest lag of a sequence, in time steps: the cap of every horizon of the run."""
        return self.seq_len - 1

    @property
    def reference_step(self) -> int:
        """Time step that the gradient must reach: the earliest that can carry the information, or the first."""
        return min((step for step in self.informative_steps if 0 <= step < self.seq_len), default=0)


@dataclass(frozen=True, kw_only=True)
class Result:
    """Outcome of a run; lists have one entry per replica.

    Args:
        status: "solved", "finished" or "diverged".
        steps_to_solve: Optimizer steps; None where a replica never solved the task.
        diverged_at: First optimizer step from which on a diverged replica was lost; None for the others, and in the
            results of older versions.
        steps: Optimizer steps done.
        final: Metric to last values; None where a replica has none.
        wall_seconds: Duration of the run.
        digest: Digest of its logs; None in the results of older versions.
        code: Versions and commit of the software that ended the run; may be empty.
    """

    status: tuple[str, ...]
    steps_to_solve: tuple[int | None, ...]
    diverged_at: tuple[int | None, ...]
    steps: int
    final: dict[str, PerReplica]
    wall_seconds: float
    digest: Digest | None
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder. Its logs are read, and their faults raised, when they are first used.

    Args:
        folder: The folder.
        label: Path from the compared folder, for people.
        config: Resolved configuration.
        replicas: Networks trained side by side.
        seed: Seed of the first replica.
        device: E.g. "cpu".
        fingerprint: Hash of what can change the figures; None in the folders of older versions.
        facts: Facts about the task.
        edits_adjoints: Names of the mitigations that change gradients on their way back through time: the recorded
            gradients are the changed ones, not the task's.
        result: None for a run that has not ended.
        code: Versions and commits of the software that computed the run.
    """

    folder: RunFolder
    label: str
    config: dict[str, Any]
    replicas: int
    seed: int
    device: str
    fingerprint: str | None
    facts: TaskFacts
    edits_adjoints: tuple[str, ...]
    result: Result | None
    code: str = ""

    @property
    def path(self) -> Path:
        """Path of the folder."""
        return self.folder.path

    @property
    def seeds(self) -> range:
        """Seed of each replica, counted up from the run's."""
        return range(self.seed, self.seed + self.replicas)

    @cached_property
    def choices(self) -> dict[str, str]:
        """Chosen members, by group."""
        return read_choices(self.config)

    @cached_property
    def settings(self) -> dict[str, str]:
        """All settings as text, by dotted path."""
        return flatten(self.config)

    @cached_property
    def metrics(self) -> dict[str, Track]:
        """Tag to scalars over steps."""
        return read_metrics(self.folder.metrics, self.replicas)

    @cached_property
    def curves(self) -> dict[str, Track]:
        """Tag to curves over time steps."""
        return read_curves(self.folder.curves, self.replicas)

    @cached_property
    def events(self) -> Events:
        """Steps that exploded."""
        return read_events(self.folder, self.replicas)

    @cached_property
    def digest(self) -> Digest:
        """Figures of the logs."""
        if self.result and self.result.digest:
            return self.result.digest
        step = self.facts.reference_step if self.facts.has_answer_gradient else None
        chance = self.facts.chance_loss
        return make_digest(
            self.metrics, self.curves, self.events, replicas=self.replicas, step=step, chance_loss=chance
        )

    @cached_property
    def standing(self) -> Standing:
        """Progress or outcome of the run; a replica that exploded and never recovered counts as diverged."""
        if self.result is None:
            found = standing_so_far(self.metrics, self.facts.criterion, self.replicas)
        else:
            logged = {} if self.result.digest else last_values(self.metrics, self.replicas)
            found = Standing(
                status=self.result.status,
                steps_to_solve=self.result.steps_to_solve,
                diverged_at=self.result.diverged_at,
                last_step=self.result.steps,
                final=logged | self.result.final,
            )
        dead = [
            None if start is None or status in {"solved", "diverged"} else int(start)
            for start, status in zip(self.digest.dead_from, found.status, strict=True)
        ]
        return replace(
            found,
            status=tuple(s if start is None else "diverged" for s, start in zip(found.status, dead, strict=True)),
            diverged_at=tuple(s if start is None else start for s, start in zip(found.diverged_at, dead, strict=True)),
        )

    @cached_property
    def is_running(self) -> bool:
        """Whether a process is doing the run."""
        return self.result is None and holder_of(self.folder.lock) is not None

    def forget_logs(self) -> None:
        """Free the memory of the logs; the next use reads them anew."""
        for name in ("metrics", "curves", "events"):
            self.__dict__.pop(name, None)


def read_run(folder: RunFolder, *, label: str) -> Run:
    """Return the run in a folder; raise UnreadableRunError if a file is missing, corrupt or of a newer format."""
    manifest = _fields(folder.manifest, read_json, "JSON")
    _check_format(manifest)
    replicas = manifest.integer("replicas", minimum=1)
    if replicas > MOST_REPLICAS:
        raise UnreadableRunError(f"{manifest.source}: 'replicas' must be at most {MOST_REPLICAS}, is {replicas}")
    config = _fields(folder.config, read_yaml, "YAML of plain values").content
    result = _result(folder, replicas) if folder.is_finished else None
    return Run(
        folder=folder,
        label=label,
        config=config,
        replicas=replicas,
        seed=manifest.integer("seed"),
        device=manifest.text("device"),
        fingerprint=manifest.text("fingerprint") if "fingerprint" in manifest.content else None,
        facts=_facts(manifest.nested("facts")),
        edits_adjoints=_edits_adjoints(manifest, config),
        result=result,
        code=", ".join(dict.fromkeys(filter(None, (_code(manifest), result and result.code)))),
    )


def _code(fields: Fields) -> str:
    """Return the versions and the commit of the software that wrote a file; empty without any."""
    versions = fields.content.get("versions")
    found = [f"{name} {versions[name]}" for name in _COMPUTES if name in versions] if isinstance(versions, dict) else []
    commit = fields.content.get("commit")
    return " ".join([*found, *([f"commit {commit}"] if commit else [])])


def _fields(path: Path, read: Callable[[Path], Any], kind: str) -> Fields:
    """Return the mapping in a file; raise UnreadableRunError if there is none."""
    try:
        return Fields(read(path), path.name)
    except FileNotFoundError as error:
        raise UnreadableRunError(f"{path.name} is missing") from error
    except ValueError as error:
        raise UnreadableRunError(f"{path.name} is no {kind}") from error


def _check_format(fields: Fields) -> None:
    found = fields.integer("format", minimum=1)
    if found > FORMAT:
        ours = f"this version reads up to {FORMAT}: use a newer rnnstudy"
        raise UnreadableRunError(f"{fields.source} has format {found}, {ours}")


def _edits_adjoints(manifest: Fields, config: dict[str, Any]) -> tuple[str, ...]:
    if "edits_adjoints" not in manifest.content:
        chosen = read_choices(config).get("mitigation", "").split(" + ")
        return tuple(name for name in chosen if name in EDITED_ADJOINTS)
    names = manifest.items("edits_adjoints")
    if not all(isinstance(name, str) for name in names):
        raise UnreadableRunError(f"{manifest.source}: 'edits_adjoints' must be names")
    return tuple(names)


def _facts(fields: Fields) -> TaskFacts:
    threshold = fields.optional_number("solved_at")
    criterion = None
    if threshold is not None:
        metric, when = fields.text("solved_metric"), fields.text("solved_when")
        direction = "at_least" if when == "at_least" else "at_most"
        criterion = Criterion(metric=metric, threshold=threshold, direction=direction)
    steps = fields.items("informative_steps")
    if not all(isinstance(step, int) and not isinstance(step, bool) and abs(step) <= MOST for step in steps):
        raise UnreadableRunError(f"{fields.source}: 'informative_steps' must be whole numbers")
    return TaskFacts(
        chance_loss=fields.optional_number("chance_loss"),
        chance_accuracy=fields.optional_number("chance_accuracy"),
        memoryless_loss=fields.optional_number("memoryless_loss"),
        criterion=criterion,
        seq_len=fields.integer("seq_len", minimum=1),
        informative_steps=tuple(steps),
        loss_at_end=fields.flag("loss_at_end"),
        answer_gradient="answer_gradient" in fields.content and fields.flag("answer_gradient"),
    )


def _result(folder: RunFolder, replicas: int) -> Result:
    fields = _fields(folder.result, read_json, "JSON")
    _check_format(fields)
    status = fields.items("status", length=replicas)
    unknown = [state for state in status if state not in ("solved", "finished", "diverged")]
    if unknown:
        raise UnreadableRunError(f"{fields.source}: 'status' holds {unknown[0]!r:.60}")
    to_solve = _steps(fields, "steps_to_solve", replicas)
    diverged_at = _steps(fields, "diverged_at", replicas) if "diverged_at" in fields.content else (None,) * replicas
    digest = hashlib.sha256(read_regular(folder.config)).hexdigest()
    if fields.content.get("config_sha256", digest) != digest:
        raise UnreadableRunError(f"{folder.config.name} is not the one that the run ended with")
    finals = fields.nested("final")
    return Result(
        status=tuple(status),
        steps_to_solve=to_solve,
        diverged_at=diverged_at,
        steps=fields.integer("steps"),
        final={str(key): read_per_replica(finals, key, replicas) for key in finals.content},
        wall_seconds=fields.number("wall_seconds"),
        digest=read_digest(fields.nested("digest"), replicas) if "digest" in fields.content else None,
        code=_code(fields),
    )


def _steps(fields: Fields, key: str, replicas: int) -> tuple[int | None, ...]:
    steps = fields.items(key, length=replicas)
    if not all(value is None or (isinstance(value, int) and 0 <= value <= MOST) for value in steps):
        raise UnreadableRunError(f"{fields.source}: '{key}' must be whole numbers or null")
    return tuple(steps)
