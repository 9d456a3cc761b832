"""Progress of the runs that other processes do, read from the disk."""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rnnstudy.runs.failure import read_failure
from rnnstudy.runs.folder import RunFolder, open_unlinked
from rnnstudy.runs.lock import holder_of
from rnnstudy.study.screen.progress import SECONDS_BETWEEN_LINES, Screen
from rnnstudy.study.screen.run_state import RunState, Stage

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_BETWEEN_LOOKS_AT_A_CLUSTER = 5.0


@dataclass
class _Watched:
    folder: RunFolder
    state: RunState
    heard: int
    """Bytes of the run's history that have been shown."""


@dataclass
class Watch:
    """Thread that keeps the states of runs up to date and shows them until the end of the `with` block.

    It looks only at runs that have a folder and have not ended: its cost does not grow with the number of waiting runs.

    Args:
        screen: Screen that shows them.
        runs: Folders of the runs, with their states.
        seconds: Seconds between two looks; more where a file server has to answer them.
    """

    screen: Screen
    runs: Sequence[tuple[RunFolder, RunState]]
    seconds: float = SECONDS_BETWEEN_LOOKS
    _waiting: dict[Path, _Watched] = field(default_factory=dict)
    _active: list[_Watched] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Watch":
        for folder, state in self.runs:
            self._waiting[folder.path.absolute()] = _Watched(folder, state, heard=_size(folder.history))
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Look a last time."""
        self._ended.set()
        self._thread.join()
        self.look()
        self.screen.redraw()

    def _follow(self) -> None:
        next_table = next_lines = self.screen.clock()
        while not self._ended.wait(self.seconds):
            self.look()
            now = self.screen.clock()
            if self.screen.is_live and now >= next_table:
                next_table = self.screen.draw()
            elif not self.screen.is_live and now >= next_lines + SECONDS_BETWEEN_LINES:
                next_lines = now
                for watched in self._active:
                    if watched.state.stage is Stage.RUNNING:
                        self.screen.say_line(watched.state)

    def look(self) -> None:
        """Bring the states up to date."""
        for path in self._begun():
            self._active.append(self._waiting.pop(path))
        for watched in self._active:
            self._look_at(watched)
        self._active = [watched for watched in self._active if watched.state.stage not in {Stage.DONE, Stage.FAILED}]

    def _begun(self) -> list[Path]:
        """Return the runs that have a folder by now."""
        found: list[Path] = []
        for parent in {path.parent for path in self._waiting}:
            with suppress(OSError), os.scandir(parent) as entries:
                found += [parent / entry.name for entry in entries if parent / entry.name in self._waiting]
        return found

    def _look_at(self, watched: _Watched) -> None:
        folder, state, now = watched.folder, watched.state, self.screen.clock()
        holder = holder_of(folder.lock)
        if holder is not None:
            state.stage = Stage.RUNNING
            with suppress(LookupError, TypeError):
                state.hear(holder.state, now)
        elif folder.is_finished:
            state.started = now if state.started is None else state.started
            state.ended, state.stage = now, Stage.DONE
            state.take(folder.result)
        elif (failed := read_failure(folder)) is not None:
            state.ended, state.stage = now, Stage.FAILED
            if not _size(folder.history):
                self.screen.say(f"{state.name}: failed: {failed.error}")
        elif state.stage is Stage.RUNNING:
            state.ended, state.stage = now, Stage.STOPPED
        self._repeat(watched)

    def _repeat(self, watched: _Watched) -> None:
        """Show the messages about a run since the last look."""
        with suppress(OSError), open(watched.folder.history, "rb", opener=open_unlinked) as file:
            file.seek(watched.heard)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                watched.heard += len(line)
                _, _, text = line.decode(errors="replace").rstrip("\n").partition(" ")
                self.screen.say(f"{watched.state.name}: {text}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
