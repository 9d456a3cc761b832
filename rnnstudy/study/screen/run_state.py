"""State of a sweep's runs as plain data: the process that does a run fills it in, the screen only reads it."""

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rnnstudy.runs import tags
from rnnstudy.runs.untrusted import read_json


class Stage(StrEnum):
    """Stage of a run."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"
    SKIPPED = "not started"
    ELSEWHERE = "elsewhere"


@dataclass(kw_only=True)
class RunState:
    """State of one run. None stands for what is unknown, or what its task does not have.

    Args:
        name: Name of the run.
        num_steps: Most optimizer steps; a run whose replicas have all solved the task ends earlier.
        replicas: Networks trained side by side.
        stage: Stage of the run.
        judged: Whether its task has a criterion for being solved.
        seq_len: Time steps of a sequence, the longest if they vary.
        step: Optimizer steps done.
        loss: Median training loss over the replicas: over those that train while it runs, over all but those that
            diverged once it is done.
        solved: Replicas that have solved the task.
        diverged: Replicas that were given up.
        horizon: Median over the replicas of the last `horizon/h/layer_*/lag` of the top layer, in time steps.
        started: When it was started here, in seconds of the monotonic clock.
        ended: When it ended, likewise.
        counted_from: Steps done, and when, at the first step done here: the origin for its speed.
        resumed: Whether it resumed from a checkpoint.
    """

    name: str
    num_steps: int
    replicas: int
    stage: Stage = Stage.WAITING
    judged: bool = False
    seq_len: int | None = None
    step: int = 0
    loss: float | None = None
    solved: int | None = None
    diverged: int = 0
    horizon: float | None = None
    started: float | None = None
    ended: float | None = None
    counted_from: tuple[int, float] | None = None
    resumed: bool = False

    def seconds_taken(self, now: float) -> float | None:
        """Return the duration of the run here, until now or its end, in seconds; None if it was not started here."""
        if self.started is None:
            return None
        return (now if self.ended is None else self.ended) - self.started

    def seconds_left(self, now: float) -> float | None:
        """Return the most seconds left of a run, at its speed so far; None before its second step here."""
        if self.stage is not Stage.RUNNING or self.counted_from is None or self.step <= self.counted_from[0]:
            return None
        first, since = self.counted_from
        return (self.num_steps - self.step) * (now - since) / (self.step - first)

    def told(self, now: float) -> dict[str, Any]:
        """Return what other processes may read about a run that is done here, as JSON with times as seconds ago."""
        figures = {name: getattr(self, name) for name in _TOLD}
        figures["started"] = self.started and now - self.started
        figures["counted_from"] = self.counted_from and [self.counted_from[0], now - self.counted_from[1]]
        return figures

    def hear(self, figures: Mapping[str, Any], now: float) -> None:
        """Take what `told` returned in another process a moment ago."""
        for name in _TOLD:
            setattr(self, name, figures[name])
        self.started = None if figures["started"] is None else now - figures["started"]
        counted = figures["counted_from"]
        self.counted_from = None if counted is None else (counted[0], now - counted[1])

    def read(self, result: Mapping[str, Any]) -> None:
        """Take the figures of a finished run from the content of its `result.json`."""
        final, solved = result["final"], sum(steps is not None for steps in result["steps_to_solve"])
        dead = result.get("digest", {}).get("dead_from", [])
        states = itertools.zip_longest(result["status"], dead)
        # One that exploded and never recovered counts as diverged, as in a comparison.
        lost = [s == "diverged" or (s == "finished" and start is not None) for s, start in states]
        self.diverged = sum(lost)
        # What a lost replica logged is of an earlier step.
        tag = tags.top(tags.HORIZON, final, state="h")
        horizons, losses = (final.get(each, ()) for each in (tag, tags.TRAIN_LOSS))
        self.horizon = median(itertools.compress(horizons, [not each for each in lost]))
        self.loss = median(itertools.compress(losses, [not each for each in lost]))
        self.solved = solved if self.judged else None
        self.step = result["steps"]

    def take(self, path: Path) -> None:
        """Take the figures of a finished run, if its `result.json` can be read."""
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            self.read(read_json(path))


_TOLD = ("num_steps", "replicas", "judged", "seq_len", "step", "loss", "solved", "diverged", "horizon", "resumed")


def sweep_seconds_left(states: Sequence[RunState], now: float) -> float | None:
    """Return the seconds left for all runs, as many at once as are running now; None while unknown.

    A run that waits, or whose speed is unknown, is assumed to last the mean of those done here from start to end.
    """
    taken = [state.seconds_taken(now) for state in states if state.stage is Stage.DONE and not state.resumed]
    whole = [seconds for seconds in taken if seconds is not None]
    left = [state.seconds_left(now) for state in states if state.stage in {Stage.RUNNING, Stage.WAITING}]
    known = [seconds for seconds in left if seconds is not None]
    unknown = len(left) - len(known)
    if unknown and not whole:
        return None
    at_once = max(1, [state.stage for state in states].count(Stage.RUNNING))
    return (sum(known) + (unknown * statistics.mean(whole) if unknown else 0)) / at_once


def median(figures: Iterable[float | None]) -> float | None:
    """Return the median of the figures that are numbers; None if none is."""
    numbers = [figure for figure in figures if figure is not None and not math.isnan(figure)]
    return statistics.median(numbers) if numbers else None
