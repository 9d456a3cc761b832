"""A search with Optuna, every trial of which is an ordinary run."""

import json
import math
import os
import shlex
import socket
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, Interrupted, RnnstudyError
from rnnstudy.core.lock import HeldError, holder_of, is_alive
from rnnstudy.core.run_folder import RunFolder
from rnnstudy.study import failure
from rnnstudy.study.compose import compose_jobs
from rnnstudy.study.failure import PRUNED, in_one_line, read_failure
from rnnstudy.study.identity import find_run_folder
from rnnstudy.study.job import Job
from rnnstudy.study.progress import Screen
from rnnstudy.study.run import check, run
from rnnstudy.study.search_space import STEPS_TO_SOLVE, Search, Value
from rnnstudy.writers.base import Entry, Scalar, Writer

STORAGE = "tune.db"
"""The file in the study's folder that holds the trials."""

SECONDS_UNTIL_LOCKED = 60
"""How long a process waits while another writes to it."""

MOST_SHOWN = 5
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
SECONDS_BETWEEN_LOOKS = 1.0

_FIXED, _SUPERSEDED, _FOLDER, _OWNER, _ERROR = "fixed", "superseded", "folder", "owner", "error"


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A search, with what is the same in all its trials.

    Args:
        name: Of the search.
        search: What is searched, and by what.
        overrides: What is fixed, as on the command line of `rnnstudy train`.
    """

    name: str
    search: Search
    overrides: Sequence[str]

    def arguments(self, values: Mapping[str, Value]) -> list[str]:
        """The command line of the run with some values."""
        return [*self.overrides, *(f"{key}={_written(value)}" for key, value in values.items())]


def _written(value: Value) -> str:
    # Four digits are as good as seventeen, and a person can read them in the name of a folder.
    return str(value).lower() if isinstance(value, bool) else _shown(value)


def tune(tuning: Tuning, console: Console) -> Path:
    """Search until as many trials have ended as are asked for, those of earlier times included.

    Args:
        tuning: The search.
        console: Where trials are shown.

    Returns:
        The folder that holds the run folders.

    Raises:
        ConfigError: Something is wrong with the search or what is fixed; nothing was done.
        Interrupted: The user stopped; the same command goes on.
        RnnstudyError: No trial was successful, or the storage is damaged.
    """
    first = _check(tuning)
    output_dir = Path(first.config["output_dir"])
    try:
        study = _open(tuning, output_dir, seed=first.config["seed"])
        _take_up_the_dead(study)
        while sum(_counts(trial) for trial in study.get_trials(deepcopy=False)) < tuning.search.trials:
            _Trying(tuning, study, study.ask(_distributions(tuning.search)), console).do()
        _show_best(tuning, study, output_dir, console)
    except SQLAlchemyError as error:
        reason = str(error).splitlines()[0]
        raise RnnstudyError(
            f"{output_dir / 'tune.db'} cannot be used: {reason}. Move it away to search anew."
        ) from None
    return output_dir


def _check(tuning: Tuning) -> Job:
    """Check all that can be checked before the first trial.

    Returns:
        The run with the first value of every key.

    Raises:
        ConfigError: A key is not known, or searched and fixed; a first or last value is not possible.
    """
    fixed = {override.lstrip("+~").partition("=")[0] for override in tuning.overrides}
    for key in tuning.search.space:
        if key in fixed:
            raise ConfigError(f"{key} is searched by {tuning.name}, and fixed on the command line; choose one.")
    for each in ("run_dir", "output_dir", "study", "device"):
        if each in tuning.search.space:
            raise ConfigError(f"space.{each} changes no figure of a run; there is nothing to search.")
    jobs = compose_jobs(tuning.arguments({key: values.first for key, values in tuning.search.space.items()}))
    if len(jobs) != 1 or any(argument.startswith("-") for argument in tuning.overrides):
        raise ConfigError("a trial is a single run: give single values, and no flags of a sweep.")
    if jobs[0].config["run_dir"] is not None:
        raise ConfigError("run_dir is one folder, and every trial needs its own; leave it out.")
    plan = check(jobs[0].config)
    if tuning.search.metric == STEPS_TO_SOLVE and plan.task.facts.solved is None:
        raise ConfigError(
            "metric=steps_to_solve needs a task that says when it is solved; use a tag such as eval/loss."
        )
    return jobs[0]


def _distributions(search: Search) -> dict[str, BaseDistribution]:
    """What may be tried, in Optuna's terms."""
    asked = _Asked()
    for key, values in search.space.items():
        values.suggest(asked, key)
    return asked.distributions


@dataclass
class _Asked:
    """Notes what is asked of a trial."""

    distributions: dict[str, BaseDistribution] = field(default_factory=dict)

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.distributions[name] = optuna.distributions.CategoricalDistribution(choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        self.distributions[name] = optuna.distributions.IntDistribution(low, high, log=log, step=step)
        return low

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        self.distributions[name] = optuna.distributions.FloatDistribution(low, high, log=log, step=step)
        return low


def _open(tuning: Tuning, output_dir: Path, seed: int) -> optuna.Study:
    """Open the storage, or make it.

    Returns:
        Optuna's study in it.

    Raises:
        ConfigError: It holds another search.
        RnnstudyError: It cannot be made.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RnnstudyError(f"'{output_dir}' cannot be written to: {error.strerror}.") from None
    search, prune = tuning.search, tuning.search.prune
    pruner = optuna.pruners.NopPruner()
    if prune is not None:
        pruner = optuna.pruners.MedianPruner(n_startup_trials=prune.startup_trials, n_warmup_steps=prune.after)
    path = (output_dir / STORAGE).absolute()
    url = f"sqlite:///{path}"
    try:
        storage = _storage(url)
    except (SQLAlchemyError, StorageInternalError):
        # Another process made it at the same moment; if that is not why, it is told now.
        time.sleep(SECONDS_BETWEEN_LOOKS)
        storage = _storage(url)
    study = optuna.create_study(
        storage=storage,
        study_name=tuning.name,
        direction="minimize" if search.direction == "minimize" else "maximize",
        pruner=pruner,
        load_if_exists=True,
    )
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    about = {
        "metric": search.metric,
        "direction": search.direction,
        "space": {key: repr(values) for key, values in search.space.items()},
        "overrides": sorted(tuning.overrides),
    }
    kept = study.user_attrs.get(_FIXED)
    if kept is None:
        study.set_user_attr(_FIXED, about)
    elif kept != about:
        differing = ", ".join(key for key in about if kept.get(key) != about[key])
        raise ConfigError(
            f"{path} holds a search '{tuning.name}' with another {differing}; choose another study=NAME for this one."
        )
    return study


def _storage(url: str) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": SECONDS_UNTIL_LOCKED}})


def _counts(trial: FrozenTrial) -> bool:
    return trial.state in ENDED and _SUPERSEDED not in trial.user_attrs


def _take_up_the_dead(study: optuna.Study) -> None:
    """Have the trials of processes that died done again, with the same values: their runs go on."""
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        owner, folder = trial.user_attrs.get(_OWNER), trial.user_attrs.get(_FOLDER)
        held = folder is not None and holder_of(RunFolder(Path(folder)).lock) is not None
        if held or (owner is not None and owner[0] == socket.gethostname() and is_alive(owner[1])):
            continue
        study._storage.set_trial_user_attr(trial._trial_id, _SUPERSEDED, True)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        study.enqueue_trial(trial.params)


class _Trying:
    """One trial, from the values it has to what came of it."""

    def __init__(self, tuning: Tuning, study: optuna.Study, trial: Trial, console: Console) -> None:
        """Compose its run."""
        self._tuning, self._study, self._trial, self._console = tuning, study, trial, console
        trial.set_user_attr(_OWNER, [socket.gethostname(), os.getpid()])

    def do(self) -> None:
        """Do the run, and tell Optuna.

        Raises:
            Interrupted: The user stopped.
        """
        (job,) = compose_jobs(self._tuning.arguments(self._trial.params))
        folder = find_run_folder(job.config, job.overrides)
        self._trial.set_user_attr(_FOLDER, str(folder.path.absolute()))
        values = "  ".join(f"{key}={_shown(value)}" for key, value in self._trial.params.items())
        job = Job(config=job.config, overrides=job.overrides, label=f"trial {self._trial.number}")
        self._say(values)
        try:
            figure = self._figure_of(job, folder)
        except Interrupted:
            raise
        except Exception as error:
            self._trial.set_user_attr(_ERROR, in_one_line(error))
            self._study.tell(self._trial, state=TrialState.FAIL)
            self._say(f"failed: {in_one_line(error)}")
            return
        if figure is None:
            self._study.tell(self._trial, state=TrialState.PRUNED)
            self._say("given up: worse than the median of the trials before it at that step")
        else:
            self._study.tell(self._trial, figure)
            self._say(f"{self._tuning.search.metric} {_shown(figure)}")

    def _say(self, text: str) -> None:
        self._console.print(
            f"trial {self._trial.number}: {text}", highlight=False, markup=False, soft_wrap=True, style="bold"
        )

    def _figure_of(self, job: Job, folder: RunFolder) -> float | None:
        """Do the run of a trial, wait for another process to do it, or find it done.

        Returns:
            The figure to search by; None if the run was given up.

        Raises:
            Interrupted: The user stopped.
            Exception: The run failed.
        """
        before = read_failure(folder)
        if not folder.is_finished and before is not None and before.kind == PRUNED:
            return None
        plan = check(job.config)
        watching = _Watching(self._trial, self._tuning.search, plan.run.replicas)
        while True:
            try:
                done = run(job, Screen(self._console), views=[watching], stop=lambda: watching.is_hopeless)
                break
            except HeldError:
                time.sleep(SECONDS_BETWEEN_LOOKS)
            except Interrupted as interrupted:
                if interrupted.signal is not None or not watching.is_hopeless:
                    raise
                text = f"given up by the search '{self._tuning.name}' after {watching.step} steps"
                failure.record(folder, text, kind=PRUNED)
                return None
        return figure_of(done, self._tuning.search, plan.train.num_steps)


class _Watching(Writer):
    """Tells a trial how its run goes on, at every evaluation."""

    def __init__(self, trial: Trial, search: Search, replicas: int) -> None:
        """Nothing is told yet."""
        self._trial, self._search = trial, search
        self._solved: dict[int, int] = {}
        self._last: list[float] = [math.nan] * replicas
        self.is_hopeless, self.step = False, 0

    @override
    def write(self, step: int, entries: Mapping[str, Entry]) -> None:
        self.step = step
        judged = entries.get("train/solved") if self._search.metric == STEPS_TO_SOLVE else None
        entry = judged or entries.get(self._search.metric)
        if entry is None or not isinstance(entry.measured, Scalar):
            return
        for replica in entry.running:
            figure = float(entry.measured.values[replica])
            if judged is None:
                self._last[replica] = figure
            else:
                if figure and replica not in self._solved:
                    self._solved[replica] = step
                self._last[replica] = self._solved.get(replica, step)
        told = [_worst(self._search) if math.isnan(figure) else figure for figure in self._last]
        figure = statistics.mean(told) if judged is not None else statistics.median(told)
        self._trial.report(figure, step)
        self.is_hopeless = self._search.prune is not None and self._trial.should_prune()

    @override
    def close(self) -> None:
        pass


def figure_of(folder: RunFolder, search: Search, num_steps: int) -> float:
    """What a finished run is judged by.

    With "steps_to_solve": the mean over the replicas of the optimizer steps to solve, of a replica that never did
    `num_steps`. With a tag: the median over the replicas of its last figure, of a replica that diverged the worst.

    Args:
        folder: Of the run.
        search: Says which figure.
        num_steps: Steps that the run did at most.

    Returns:
        The figure.

    Raises:
        RnnstudyError: The run has no such figure.
    """
    result = json.loads(folder.result.read_bytes())
    if search.metric == STEPS_TO_SOLVE:
        return statistics.mean(num_steps if steps is None else steps for steps in result["steps_to_solve"])
    figures = result["final"].get(search.metric)
    if figures is None:
        known = ", ".join(sorted(tag for tag in result["final"] if tag.startswith(("eval", "train"))))
        raise RnnstudyError(f"metric must be steps_to_solve or a tag of the log, got '{search.metric}'. Tags: {known}.")
    states = result["status"]
    return statistics.median(
        _worst(search) if figure is None or math.isnan(figure) or state == "diverged" else figure
        for figure, state in zip(figures, states, strict=True)
    )


def _worst(search: Search) -> float:
    return math.inf if search.direction == "minimize" else -math.inf


def _show_best(tuning: Tuning, study: optuna.Study, output_dir: Path, console: Console) -> None:
    """Show the best trials, and how to look further.

    Raises:
        RnnstudyError: There is none.
    """
    trials = [trial for trial in study.get_trials(deepcopy=False) if _counts(trial)]
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    failed = [trial for trial in trials if trial.state is TrialState.FAIL]
    if not complete:
        errors = {trial.user_attrs.get(_ERROR, "") for trial in failed}
        raise RnnstudyError(
            f"none of {len(trials)} trials has a figure: {'; '.join(sorted(errors)) or 'all given up'}."
        )
    sign = 1 if tuning.search.direction == "minimize" else -1
    best = sorted(complete, key=lambda trial: sign * float(trial.value or 0))[:MOST_SHOWN]
    pruned = len(trials) - len(complete) - len(failed)
    lines = [
        "",
        f"{len(trials)} trials: {len(complete)} finished, {pruned} given up, {len(failed)} failed. "
        f"Best by {tuning.search.metric} ({tuning.search.direction}):",
    ]
    for trial in best:
        values = "  ".join(f"{key}={_shown(value)}" for key, value in trial.params.items())
        lines += [f"  {_shown(float(trial.value or 0))}  {values}", f"      {trial.user_attrs.get(_FOLDER, '')}"]
    again = shlex.join(["rnnstudy", "train", *tuning.arguments(best[0].params), "seed=1000"])
    lines += [
        "",
        "The best of many trials looks better than it is: all have the same seeds. Confirm it with others:",
        f"  {again}",
        f"Compare all of them: rnnstudy compare {shlex.quote(str(output_dir))}",
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
