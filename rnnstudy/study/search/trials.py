"""The trials of a search, stored in the study's folder and chosen so that several processes can share them."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from rnnstudy.core.errors import ConfigError
from rnnstudy.runs.lock import HeldError, Lock, holder_of
from rnnstudy.study.search.space import Tuning, Values

STORAGE = "tune.db"
"""File in the study's folder that holds the trials."""

SECONDS_UNTIL_LOCKED = 60
"""Most seconds that a process waits while another writes to it."""

SECONDS_BETWEEN_TRIES = 0.05

_ABOUT, _INSTEAD_OF, _OWNER = "about", "instead_of", "owner"


def open_study(tuning: Tuning, output_dir: Path) -> optuna.Study:
    """Return Optuna's study in the storage, made if missing; raise ConfigError if it holds another search."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = tuning.search
    path = (output_dir / STORAGE).absolute()
    # A path may hold characters with a meaning in a URL.
    connect = partial(sqlite3.connect, path, timeout=SECONDS_UNTIL_LOCKED, check_same_thread=False)
    storage = optuna.storages.RDBStorage(f"sqlite:///{STORAGE}", engine_kwargs={"creator": connect})
    study = optuna.create_study(
        storage=storage,
        study_name=tuning.name,
        direction="minimize" if search.direction == "minimize" else "maximize",
        pruner=optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    space, overrides = {key: repr(values) for key, values in search.space.items()}, sorted(tuning.overrides)
    about = {"metric": search.metric, "direction": search.direction, "space": space, "overrides": overrides}
    kept = study.user_attrs.get(_ABOUT)
    if kept is None:
        study.set_user_attr(_ABOUT, about)
    elif kept != about:
        differing = ", ".join(key for key in about if kept.get(key) != about[key])
        other = f"{path} holds a search '{tuning.name}' with another {differing}"
        raise ConfigError(f"{other}; choose another study=NAME for this one.")
    return study


def _distribution(values: Values) -> BaseDistribution:
    """Return the values of one key in Optuna's terms."""
    if values.choices is not None:
        return optuna.distributions.CategoricalDistribution(values.choices)
    low, high, step = values.low, values.high, values.step
    assert low is not None
    assert high is not None
    if isinstance(low, int) and isinstance(high, int) and not isinstance(step, float):
        return optuna.distributions.IntDistribution(low, high, log=values.log, step=step or 1)
    return optuna.distributions.FloatDistribution(low, high, log=values.log, step=step)


@contextmanager
def alone(locks: Path) -> Iterator[None]:
    """Wait until no other process chooses a trial of a search in this folder."""
    lock = Lock(locks / "tune")
    while True:
        try:
            lock.acquire()
            break
        except HeldError:
            time.sleep(SECONDS_BETWEEN_TRIES)
    try:
        yield
    finally:
        lock.release()


def next_trial(tuning: Tuning, study: optuna.Study, *, own: Path, seed: int) -> Trial | None:
    """Return the next trial, with its values, those of dead processes first; None if all are done or being done."""
    with alone(own.parent):
        _take_up_the_dead(study)
        trials = current_trials(study)
        begun = sum(trial.state is not TrialState.WAITING for trial in trials)
        if begun >= tuning.search.trials:
            return None
        # The suggestion then depends on the trials so far, not on the number of processes or sessions.
        study.sampler = optuna.samplers.TPESampler(seed=seed + begun)
        trial = study.ask({key: _distribution(values) for key, values in tuning.search.space.items()})
        trial.set_user_attr(_OWNER, str(own))
        return trial


def current_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return all trials except those that others replace."""
    trials = study.get_trials(deepcopy=False)
    replaced = {trial.user_attrs.get(_INSTEAD_OF) for trial in trials}
    return [trial for trial in trials if trial.number not in replaced]


def _lives(owner: Path) -> bool:
    """Return whether the process of a trial lives; watch one that seems dead, because clocks differ."""
    if holder_of(owner) is not None:
        return True
    if not owner.exists():
        return False
    try:
        with Lock(owner):
            return False
    except HeldError:
        return True


def _take_up_the_dead(study: optuna.Study) -> None:
    """Enqueue the trials of dead or stopped processes again with the same values, so that their runs resume."""
    current = {trial.number for trial in current_trials(study)}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(_OWNER)
        if owner is not None and _lives(Path(owner)):
            continue
        if trial.number in current:
            study.enqueue_trial(trial.params, user_attrs={_INSTEAD_OF: trial.number})
        study.tell(trial.number, state=TrialState.FAIL)
        if owner is not None:
            with suppress(OSError):
                Path(owner).unlink(missing_ok=True)
