"""Figure by which a search judges a run, at its end and while it trains."""

import math
import statistics
from collections.abc import Mapping, Sequence

from optuna.trial import Trial, TrialState
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.runs import tags
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.logs import read_metrics
from rnnstudy.runs.untrusted import read_json
from rnnstudy.study.search.space import STEPS_TO_SOLVE, Search
from rnnstudy.writers.base import Entry, Scalar, Writer
from rnnstudy.writers.run_log import shorten


class NoFigureError(ConfigError):
    """A finished run has no such figure; no run of the search will have it."""


def figure_of(folder: RunFolder, search: Search, num_steps: int) -> float:
    """Return the figure by which a finished run is judged.

    With "steps_to_solve": the restricted mean, over the replicas, of min(optimizer steps to solve, `num_steps`); one
    that never solved the task, or diverged, counts as `num_steps`, the most steps of the run. With a tag: the median
    over the replicas of its last figure; a replica that diverged, or has no number, counts as infinitely bad.

    Raises:
        NoFigureError: No run has such a figure.
        RnnstudyError: The result cannot be read.
    """
    try:
        result = read_json(folder.result)
        if search.metric == STEPS_TO_SOLVE:
            return statistics.mean(num_steps if steps is None else steps for steps in result["steps_to_solve"])
        figures, states = result["final"].get(search.metric), result["status"]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise RnnstudyError(f"{folder.result} is damaged ({type(error).__name__}); move the run folder away.") from None
    if figures is None:
        known = ", ".join(sorted(tag for tag in result["final"] if tags.group(tag).startswith(("eval", "train"))))
        raise NoFigureError(f"metric must be steps_to_solve or a tag of the log, got '{search.metric}'. Tags: {known}.")
    return statistics.median(
        _or_worst(math.nan if figure is None or state == "diverged" else figure, search)
        for figure, state in zip(figures, states, strict=True)
    )


def _or_worst(figure: float, search: Search) -> float:
    if not math.isnan(figure):
        return figure
    return math.inf if search.direction == "minimize" else -math.inf


class Watching(Writer):
    """Writer that reports to a trial at every evaluation: its run's figure, if nothing changed until `num_steps`."""

    def __init__(self, trial: Trial, search: Search, *, replicas: int, num_steps: int) -> None:
        """Report nothing yet."""
        self._trial, self._search, self._replicas = trial, search, replicas
        self._to_solve = search.metric == STEPS_TO_SOLVE
        self._tag = tags.SOLVED if self._to_solve else search.metric
        self._last = [float(num_steps) if self._to_solve else math.nan] * replicas
        self._figures: dict[int, float] = {}
        self.is_hopeless, self.step = False, 0

    def catch_up(self, folder: RunFolder) -> None:
        """Report what the run logged in earlier attempts; raise RnnstudyError if the log is corrupt."""
        track = read_metrics(folder.metrics, self._replicas).get(self._tag)
        if track is not None:
            for step, logged, values in zip(track.steps.tolist(), track.logged, track.values, strict=True):
                self._take(step, {int(replica): float(values[replica]) for replica in logged.nonzero()[0]})

    @override
    def write(self, step: int, entries: Mapping[str, Entry]) -> None:
        self.step = step
        entry = entries.get(self._tag)
        if entry is None or not isinstance(entry.measured, Scalar):
            return
        values = entry.measured.values
        # Shortened as in the log, from which another attempt reads them.
        self._take(step, {replica: shorten(float(values[replica])) for replica in entry.running})
        if self._search.prune is not None and step >= self._search.prune.after:
            own = {at: figure for at, figure in self._figures.items() if at <= step}
            finished = self._trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            others = [each.intermediate_values for each in finished]
            self.is_hopeless = falls_behind(own, others, self._search)

    def _take(self, step: int, logged: Mapping[int, float]) -> None:
        """Take the values that some replicas logged; report a step that is repeated only once."""
        if step in self._figures:
            return
        for replica, figure in logged.items():
            if not self._to_solve:
                self._last[replica] = figure
            elif figure:
                self._last[replica] = min(self._last[replica], step)
        whole = statistics.mean if self._to_solve else statistics.median
        self._figures[step] = whole([_or_worst(figure, self._search) for figure in self._last])
        self._trial.report(self._figures[step], step)

    @override
    def close(self) -> None:
        pass


def falls_behind(own: Mapping[int, float], others: Sequence[Mapping[int, float]], search: Search) -> bool:
    """Return whether to give a run up: its best figure so far is worse than the median of what others had by then.

    `own` and each of the `others`, which are finished runs, map optimizer step to figure. Unlike with Optuna's
    MedianPruner, a run that ended before that step keeps its last figure: otherwise those that solved the task soonest
    would be left out, and the rest compared with the slow ones alone.

    References:
        Golovin et al., Google Vizier, 2017, section 3.2.2: the rule, there with the mean of each run's figures so far.
    """
    step = max(own)
    had = [each[max(steps)] for each in others if (steps := [at for at in each if at <= step])]
    if search.prune is None or len(had) < search.prune.startup_trials:
        return False
    if search.direction == "minimize":
        return min(own.values()) > statistics.median(had)
    return max(own.values()) < statistics.median(had)
