"""Handing the runs of a sweep to one of Hydra's launchers, and dealing with processes that die there."""

import copy
import multiprocessing
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from omegaconf import open_dict

from rnnstudy.core.errors import ConfigError, Interrupted, RnnstudyError
from rnnstudy.runs.ledger import Ledger, LedgerEntry
from rnnstudy.runs.lock import left_behind
from rnnstudy.study.jobs.compose import Composition
from rnnstudy.study.jobs.hydra_errors import TO_INSTALL
from rnnstudy.study.run.signals import handling
from rnnstudy.study.sweep.settled import MOST_DEATHS, bury, is_settled
from rnnstudy.study.sweep.worker import Worker

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""Variables that keep a worker's libraries to one thread; `numerics.threads` still applies to the run itself."""


def _make_launcher(composition: Composition, worker: Worker) -> Launcher:
    """Return the chosen launcher; raise ConfigError if it is not installed, or refuses its settings."""
    config = copy.deepcopy(composition.config)
    with open_dict(config):
        # A worker composes only the choice of a run, whose own configuration is in the ledger.
        config.hydra.job.config_name = "job"
        kept = [each for each in config.hydra.overrides.hydra if each.lstrip("+").startswith("hydra.job.")]
        config.hydra.overrides.hydra = kept
    if config.hydra.launcher.get("n_jobs") == 0:
        raise ConfigError("hydra.launcher.n_jobs must be at least 1, or -1 for all cores, got 0.")
    try:
        instantiate = Plugins.instance().instantiate_launcher
        launcher = instantiate(hydra_context=composition.context, task_function=worker, config=config)
    except (ImportError, RuntimeError) as error:
        why = str(error).strip().splitlines()[0]
        raise ConfigError(f"hydra/launcher={composition.launcher} cannot be used ({why}). {TO_INSTALL}") from None
    if "submitit" not in type(launcher).__module__:
        return launcher
    from rnnstudy.study.sweep.slurm import PatientLauncher

    return PatientLauncher(launcher)


def _launch(launcher: Launcher, ledgers: Sequence[Ledger], entries: Sequence[LedgerEntry]) -> dict[LedgerEntry, str]:
    """Launch runs and wait for all; return the errors of those that reported one."""
    places = {ledger.path: place for place, ledger in enumerate(ledgers)}
    overrides = [[f"ledger={places[entry.ledger]}", f"at={entry.at}"] for entry in entries]
    with _one_thread():
        returns = launcher.launch(overrides, initial_job_idx=0)
    told = {entry: done.return_value for entry, done in zip(entries, returns, strict=False) if done is not None}
    return {entry: error for entry, error in told.items() if error is not None}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep processes that are started to one thread, unless the user has set otherwise."""
    added = [name for name in ONE_THREAD if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def launch_all(
    composition: Composition, ledgers: Sequence[Ledger], entries: Sequence[LedgerEntry]
) -> dict[LedgerEntry, str]:
    """Do all runs that can be done, however many processes die.

    Returns:
        Errors of the runs that reported one; the folders of the others show how they ended.

    Raises:
        Interrupted: The user stopped the sweep; the runs saved their checkpoints.
        RnnstudyError: A run took longer than the launcher waits, or the launcher refuses its settings.
        Exception: The launcher does not work.
    """
    errors: dict[LedgerEntry, str] = {}
    deaths: Counter[LedgerEntry] = Counter()
    with tempfile.TemporaryDirectory(prefix="rnnstudy_") as scratch:
        stop_file = Path(scratch) / "stop"
        is_local = "joblib" in str(composition.config.hydra.launcher.get("_target_", ""))
        paths = tuple(ledger.path.absolute() for ledger in ledgers)
        worker = Worker(ledgers=paths, stop_file=stop_file, parent=os.getpid() if is_local else None)
        launcher = _make_launcher(composition, worker)
        pending = list(entries)
        while pending:
            suspects = [entry for entry in pending if deaths[entry]]
            # One that dies takes the others of its pool with it.
            batch = [entry for entry in pending if not deaths[entry]] or suspects[: 1 if is_local else None]
            broken: Exception | None = None
            with _stopping(stop_file, is_local=is_local):
                try:
                    errors |= _launch(launcher, ledgers, batch)
                except Exception as error:
                    # Raised again below, unless processes that died explain it.
                    broken = error
            died = [entry for entry in batch if not is_settled(entry.folder) and left_behind(entry.folder.lock)]
            deaths.update(died)
            for entry in died:
                bury(entry.folder, is_last=deaths[entry] >= MOST_DEATHS)
            left = [entry for entry in pending if not is_settled(entry.folder) and entry not in errors]
            if isinstance(broken, multiprocessing.TimeoutError):
                raise RnnstudyError("a run took longer than hydra.launcher.timeout seconds; leave that out.")
            if broken is not None and not died and len(left) == len(pending):
                raise broken
            # Without a death, the user has stopped what was launched and is left.
            pending = [entry for entry in left if broken is not None or entry in died or entry not in batch]
    return errors


@contextmanager
def _stopping(stop_file: Path, *, is_local: bool) -> Iterator[None]:
    """Ask local workers to stop on Ctrl-C, SIGTERM or SIGHUP, then raise Interrupted; a second Ctrl-C stops at once."""
    if not is_local:
        yield
        return

    def handle(number: int, frame: object) -> None:
        if stop_file.exists() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop_file.touch()

    with handling((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), handle):
        yield
    if stop_file.exists():
        raise Interrupted("stopped; the runs that had begun have saved checkpoints")
