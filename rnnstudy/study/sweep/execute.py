"""Doing the runs of a command line except those that are finished."""

import itertools
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

from rich.console import Console

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.failure import FAILED, UnfinishedError, in_one_line, read_failure
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.ledger import Ledger, LedgerEntry, write_ledger
from rnnstudy.runs.lock import HeldError, holder_of
from rnnstudy.study.jobs.check import PlannedRun
from rnnstudy.study.jobs.compose import Composition
from rnnstudy.study.run.run import do_run
from rnnstudy.study.screen.progress import Screen, waiting
from rnnstudy.study.screen.run_state import Stage
from rnnstudy.study.sweep.launch import launch_all
from rnnstudy.study.sweep.settled import clear_lock, is_settled
from rnnstudy.study.sweep.watch import SECONDS_BETWEEN_LOOKS, SECONDS_BETWEEN_LOOKS_AT_A_CLUSTER, Watch

MOST_LISTED = 20
"""Most failed runs whose errors are repeated at the end."""


def execute(composition: Composition, runs: Sequence[PlannedRun], command: str, console: Console) -> list[RunFolder]:
    """Do the unfinished runs of a command line; return the folders of all, and raise errors as `train` does."""
    if composition.is_sweep:
        return _Execution(composition, runs, command, console).do()
    planned, failed = runs[0], _left_failed(runs[0])
    if failed is not None:
        raise RnnstudyError(f"{planned.folder.path} failed before: {failed} retry_failed=true tries again.")
    with Screen(console, [waiting(planned.job.label, planned.plan)]) as screen:
        return [do_run(planned, screen)]


def _left_failed(planned: PlannedRun) -> str | None:
    """Return the error of a failed run that will not be retried; None for any other."""
    if planned.plan.run.retry_failed or planned.folder.is_finished:
        return None
    failed = read_failure(planned.folder)
    return failed.error if failed is not None and failed.kind == FAILED else None


class _Execution:
    """The runs of a command line, from their ledgers to the outcome of each."""

    def __init__(self, composition: Composition, runs: Sequence[PlannedRun], command: str, console: Console) -> None:
        """Do nothing yet."""
        self._composition, self._console = composition, console
        self._planned = {planned.folder.lock.absolute(): planned for planned in runs}
        self._states = {place: waiting(planned.job.label, planned.plan) for place, planned in self._planned.items()}
        self._command = command
        self._errors: dict[Path, str] = {}

    def do(self) -> list[RunFolder]:
        """Do the runs that are not finished; return the folders of all, or raise UnfinishedError."""
        ledgers = self._write_ledgers()
        entries = [entry for ledger in ledgers for entry in ledger.entries()]
        with Screen(self._console, list(self._states.values())) as screen:
            left = self._left_to_do(entries, screen)
            if left:
                self._launch(ledgers, left, screen)
        self._require_finished()
        return [planned.folder for planned in self._planned.values()]

    def _write_ledgers(self) -> list[Ledger]:
        """Write the ledger of each folder; raise RnnstudyError if a folder cannot be written to."""
        ledgers = []
        home_of = attrgetter("folder.path.parent")
        by_home = sorted(self._planned.values(), key=lambda planned: str(home_of(planned)))
        for home, members in itertools.groupby(by_home, home_of):
            try:
                listed = [(planned.job, planned.folder) for planned in members]
                ledgers.append(write_ledger(home, listed, self._command))
            except OSError as error:
                raise RnnstudyError(f"'{home}' cannot be written to: {error.strerror}.") from None
        return ledgers

    def _left_to_do(self, entries: Sequence[LedgerEntry], screen: Screen) -> list[LedgerEntry]:
        """Leave out runs that are finished, and failed ones that will not be retried."""
        left, finished = [], 0
        for entry in entries:
            place = entry.folder.lock
            state, failed = self._states[place], _left_failed(self._planned[place])
            if entry.folder.is_finished:
                finished += 1
                state.stage = Stage.DONE
                state.take(entry.folder.result)
            elif failed is not None:
                state.stage = Stage.FAILED
                self._errors[place] = f"{failed} (before; retry_failed=true tries again)"
            else:
                left.append(entry)
        if finished:
            screen.say(f"{finished} of {len(entries)} runs finished already, nothing to do for them")
        return left

    def _launch(self, ledgers: Sequence[Ledger], left: Sequence[LedgerEntry], screen: Screen) -> None:
        """Do runs here or by the launcher."""
        if self._composition.launcher == "basic":
            self._do_here(left, screen)
            return
        for entry in left:
            clear_lock(entry.folder)
            if holder_of(entry.folder.lock) is None:
                with suppress(OSError):
                    entry.folder.failure.unlink(missing_ok=True)
        states = [(entry.folder, self._states[entry.folder.lock]) for entry in left]
        near = not self._composition.launcher.startswith("submitit")
        with Watch(screen, states, SECONDS_BETWEEN_LOOKS if near else SECONDS_BETWEEN_LOOKS_AT_A_CLUSTER):
            errors = launch_all(self._composition, ledgers, left)
        self._errors |= {entry.folder.lock: error for entry, error in errors.items()}

    def _do_here(self, left: Sequence[LedgerEntry], screen: Screen) -> None:
        """Do runs in this process, one after the other; at last those whose other process has died meanwhile."""
        while left:
            held = []
            for entry in left:
                try:
                    do_run(self._planned[entry.folder.lock], screen)
                except HeldError:
                    held.append(entry)
                except Exception as error:
                    # Any error is kept with its run, and the other runs continue.
                    self._errors[entry.folder.lock] = in_one_line(error)
            left = [entry for entry in held if not is_settled(entry.folder)]
        for place, state in self._states.items():
            if state.stage is Stage.ELSEWHERE and self._planned[place].folder.is_finished:
                state.stage = Stage.DONE
                state.take(self._planned[place].folder.result)

    def _require_finished(self) -> None:
        """Raise UnfinishedError, with the reasons, unless all runs are finished."""
        held, failed = 0, list[str]()
        for place, planned in self._planned.items():
            if planned.folder.is_finished:
                # A process may have died between the end of its run and the release of the lock.
                clear_lock(planned.folder)
                continue
            failure = read_failure(planned.folder)
            if holder_of(planned.folder.lock) is not None:
                held += 1
            elif place in self._errors or failure is not None:
                error = self._errors.get(place) or (failure.error if failure is not None else "")
                failed.append(f"  {planned.job.label}: {error}")
            else:
                failed.append(f"  {planned.job.label}: stopped before its end; the same command goes on")
        count, told = len(self._planned), []
        if failed:
            more = [f"  and {len(failed) - MOST_LISTED} more"] if len(failed) > MOST_LISTED else []
            told.append("\n".join([f"{len(failed)} of {count} runs failed:", *failed[:MOST_LISTED], *more]))
        if held:
            told.append(f"{held} of {count} runs are being done by other processes: rnnstudy status tells by which.")
        if told:
            raise UnfinishedError("\n".join(told), [planned.folder for planned in self._planned.values()])
