"""The process that a launcher starts to do a run of a ledger."""

import os
import signal
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console

from rnnstudy.core.errors import Interrupted
from rnnstudy.runs.failure import in_one_line
from rnnstudy.runs.ledger import Ledger
from rnnstudy.runs.lock import HeldError

SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Worker that does runs of a sweep; small, because it is sent along with each of them.

    Args:
        ledgers: Ledgers of the sweep.
        stop_file: Once it exists, runs save a checkpoint and stop, and none is begun.
        parent: Process that must be the parent, and without which the worker stops; None if it is on its own.
    """

    ledgers: tuple[Path, ...]
    stop_file: Path
    parent: int | None

    def __call__(self, place: Any) -> str | None:
        """Do the run at a place (`conf/job.yaml`, composed), keep any error with it, and return that in one line."""
        # Imported in the call: a launcher that only sends the worker needs no torch.
        from rnnstudy.study.jobs.check import plan_job
        from rnnstudy.study.run.run import do_run
        from rnnstudy.study.screen.progress import Screen

        if self._above is not None:
            # Ctrl-C reaches all processes of a terminal; here it counts only during a run.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _end_with(self._above)
        # Before and after a run there is nothing to save; the run itself answers this signal.
        if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        if self._is_to_stop():
            return None
        entry = Ledger(self.ledgers[place.ledger]).read_at(place.at)
        try:
            with _busy:
                do_run(plan_job(entry.job), Screen(Console(quiet=self.parent is not None)), stop=self._is_to_stop)
        except Interrupted as interrupted:
            if self.parent == os.getpid():
                # With one core, runs share the sweep's process, which must be notified.
                self.stop_file.touch()
            if "SUBMITIT_FOLDER" in os.environ:
                from rnnstudy.study.sweep.slurm import hand_on

                hand_on(interrupted)
        except HeldError:
            return None
        except Exception as error:
            # The error is kept with its run; the process does others.
            return in_one_line(error)
        return None

    def _is_to_stop(self) -> bool:
        return self.stop_file.exists() or (self._above is not None and os.getppid() != self._above)

    @property
    def _above(self) -> int | None:
        """Process of the sweep if it started this one; None if it is this one, or on another machine."""
        return None if self.parent == os.getpid() else self.parent


_busy = threading.Lock()
"""Held while this process does a run."""


@cache
def _end_with(parent: int) -> None:
    """End this process when its parent has died: at once, or once the present run has stopped."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        with _busy:
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
