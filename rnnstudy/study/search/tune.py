"""A search with Optuna whose trials are ordinary runs."""

import secrets
import shlex
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from rnnstudy.core.errors import ConfigError, Interrupted, RnnstudyError
from rnnstudy.core.text import printable
from rnnstudy.runs import failure
from rnnstudy.runs.failure import PRUNED, in_one_line, read_failure
from rnnstudy.runs.folder import RECORDS
from rnnstudy.runs.identity import changes_figures
from rnnstudy.runs.job import Job
from rnnstudy.runs.lock import HeldError, Lock
from rnnstudy.study.jobs.check import check, plan_job
from rnnstudy.study.jobs.compose import compose_jobs
from rnnstudy.study.run.run import do_run
from rnnstudy.study.screen.progress import Screen
from rnnstudy.study.search.objective import NoFigureError, Watching, figure_of
from rnnstudy.study.search.space import STEPS_TO_SOLVE, Tuning, shown
from rnnstudy.study.search.trials import STORAGE, alone, current_trials, next_trial, open_study

MOST_SHOWN = 5
"""Number of best trials that are listed at the end."""

CONFIRM_AT = 1000
"""Distance from the search's seed to the one that confirms its best trial."""

SECONDS_BETWEEN_LOOKS = 1.0

_FOLDER, _ERROR = "folder", "error"


def tune(tuning: Tuning, console: Console) -> Path:
    """Search until as many trials have ended as are asked for, those of earlier times included.

    Returns:
        Folder of the run folders.

    Raises:
        ConfigError: The search or a fixed setting is wrong; nothing was done.
        Interrupted: The user stopped; the same command resumes the search.
        RnnstudyError: No trial was successful, or the storage is damaged.
    """
    first = require_possible(tuning)
    output_dir, seed = Path(first.config["output_dir"]), int(first.config["seed"])
    locks = output_dir.absolute() / RECORDS / "locks"
    try:
        # It shows other processes that this one lives; once it does not, they repeat its trials.
        own = locks / f"tune_{secrets.token_hex(8)}"
        with Lock(own):
            with alone(locks):
                study = open_study(tuning, output_dir)
            while (trial := next_trial(tuning, study, own=own, seed=seed)) is not None:
                _Trying(tuning, study, trial, console).do()
        _show_best(tuning, study, output_dir, console=console, seed=seed)
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = " ".join(str(error.__cause__ or error).splitlines()[:1])
        raise RnnstudyError(f"{output_dir / STORAGE} cannot be used: {reason}. Move it away to search anew.") from None
    return output_dir


def require_possible(tuning: Tuning) -> Job:
    """Return the run of every key's first value; raise ConfigError for any fault that shows before the first trial."""
    fixed = {override.lstrip("+~").partition("=")[0] for override in tuning.overrides}
    for key in tuning.search.space:
        if key in fixed:
            raise ConfigError(f"{key} is searched by {tuning.name}, and fixed on the command line; choose one.")
        if key == "device" or not changes_figures(key):
            raise ConfigError(f"space.{key} changes no figure of a run; there is nothing to search.")
        if key == "seed":
            raise ConfigError("space.seed finds a lucky seed, not a good configuration; search other keys.")
    jobs = compose_jobs(tuning.arguments({key: values.first for key, values in tuning.search.space.items()}))
    if len(jobs) != 1 or any(argument.startswith("-") for argument in tuning.overrides):
        raise ConfigError("a trial is a single run: give single values, and no flags of a sweep.")
    if jobs[0].config["run_dir"] is not None:
        raise ConfigError("run_dir is one folder, and every trial needs its own; leave it out.")
    plan = check(jobs[0].config)
    if tuning.search.metric == STEPS_TO_SOLVE and plan.task.facts.solved is None:
        needed = "a task that says when it is solved; use a tag such as eval/loss"
        raise ConfigError(f"metric=steps_to_solve needs {needed}.")
    _check_each(tuning)
    return jobs[0]


def _check_each(tuning: Tuning) -> None:
    """Raise ConfigError if a choice of a key, or its greatest number, cannot go with the first values of the others."""
    first = {key: values.first for key, values in tuning.search.space.items()}
    for key, values in tuning.search.space.items():
        for value in values.others:
            try:
                (job,) = compose_jobs(tuning.arguments(first | {key: value}))
                check(job.config)
            except ConfigError as error:
                told = "  ".join(f"{name}={shown(each)}" for name, each in first.items() if name != key)
                beside = f" beside {told}; the first value of every key must go with all of the others" if told else ""
                raise ConfigError(f"space.{key} holds {shown(value)}: {error} (Tried{beside}.)") from None


@dataclass(frozen=True)
class _Trying:
    """One trial, from its values to its outcome."""

    _tuning: Tuning
    _study: optuna.Study
    _trial: Trial
    _console: Console

    def do(self) -> None:
        """Do the run, and report its outcome to Optuna.

        Raises:
            Interrupted: The user stopped; Optuna gets no report, and the trial is repeated with the same values.
            NoFigureError: There is no such figure.
            SQLAlchemyError: The storage cannot be used.
            StorageInternalError: Likewise.
        """
        self._say("  ".join(f"{key}={shown(value)}" for key, value in self._trial.params.items()))
        try:
            figure = self._figure()
        except (SQLAlchemyError, StorageInternalError):
            raise
        except Exception as error:
            self._trial.set_user_attr(_ERROR, in_one_line(error))
            self._study.tell(self._trial, state=TrialState.FAIL)
            self._say(f"failed: {in_one_line(error)}")
            if isinstance(error, NoFigureError):
                raise
            return
        if figure is None:
            self._study.tell(self._trial, state=TrialState.PRUNED)
            self._say("given up: worse than the median of the trials before it at that step")
        else:
            self._study.tell(self._trial, figure)
            self._say(f"{self._tuning.search.metric} {shown(figure)}")

    def _say(self, text: str) -> None:
        line = printable(f"trial {self._trial.number}: {text}")
        self._console.print(line, highlight=False, markup=False, soft_wrap=True, style="bold")

    def _figure(self) -> float | None:
        """Return the figure of a trial, whose run is done here, elsewhere or earlier; None if it was given up."""
        (job,) = compose_jobs(self._tuning.arguments(self._trial.params))
        planned = plan_job(replace(job, label=f"trial {self._trial.number}"))
        plan, folder, search = planned.plan, planned.folder, self._tuning.search
        self._trial.set_user_attr(_FOLDER, str(folder.path.absolute()))
        watching = Watching(self._trial, search, replicas=plan.run.replicas, num_steps=plan.train.num_steps)
        given_up = f"given up by the search '{self._tuning.name}'"
        while True:
            before = read_failure(folder)
            watching.catch_up(folder)
            pruned = before is not None and before.kind == PRUNED and before.error.startswith(given_up)
            if pruned and not folder.is_finished:
                return None
            try:
                done = do_run(planned, Screen(self._console), views=[watching], stop=lambda: watching.is_hopeless)
                return figure_of(done, search, plan.train.num_steps)
            except HeldError:
                time.sleep(SECONDS_BETWEEN_LOOKS)
            except Interrupted as interrupted:
                if interrupted.signal is not None or not watching.is_hopeless:
                    raise
                failure.record(folder, f"{given_up} after {watching.step} steps", kind=PRUNED)
                return None


def _show_best(tuning: Tuning, study: optuna.Study, output_dir: Path, *, console: Console, seed: int) -> None:
    """Show the best trials and the next commands; raise RnnstudyError if there is none."""
    trials = current_trials(study)
    states = Counter(trial.state for trial in trials)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    if not complete:
        errors = {trial.user_attrs[_ERROR] for trial in trials if _ERROR in trial.user_attrs}
        why = "; ".join(sorted(errors)) or "given up, or being done by other processes"
        raise RnnstudyError(f"none of {len(trials)} trials has a figure: {why}")
    sign = 1 if tuning.search.direction == "minimize" else -1
    best = sorted(complete, key=lambda trial: sign * _figure(trial))[:MOST_SHOWN]
    elsewhere = f" {running} being done by other processes." if (running := states[TrialState.RUNNING]) else ""
    lines = [
        "",
        f"{len(trials)} trials: {len(complete)} finished, {states[TrialState.PRUNED]} given up, "
        f"{states[TrialState.FAIL]} failed.{elsewhere} "
        f"Best by {tuning.search.metric} ({tuning.search.direction}):",
    ]
    for trial in best:
        values = "  ".join(f"{key}={shown(value)}" for key, value in trial.params.items())
        lines += [f"  {shown(_figure(trial))}  {values}", f"      {trial.user_attrs[_FOLDER]}"]
    # A run uses its seed and the following ones, one per replica.
    again = shlex.join(["rnnstudy", "train", *tuning.arguments(best[0].params), f"seed={seed + CONFIRM_AT}"])
    lines += [
        "",
        "The best of many trials looks better than it is: all have the same seeds. Confirm it with others:",
        f"  {again}",
        f"Compare all of them: rnnstudy compare {shlex.quote(str(output_dir))}",
    ]
    for line in lines:
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def _figure(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value
