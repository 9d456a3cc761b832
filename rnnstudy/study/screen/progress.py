"""Display of the progress of runs: one live table in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from typing_extensions import override

from rnnstudy.config.schema import Plan
from rnnstudy.core.text import printable
from rnnstudy.runs import tags
from rnnstudy.runs.failure import in_one_line
from rnnstudy.runs.folder import RunFolder, open_unlinked
from rnnstudy.runs.lock import HeldError
from rnnstudy.study.screen.run_state import RunState, Stage, median
from rnnstudy.study.screen.table import draw, line
from rnnstudy.training.loop import Listener, Progress
from rnnstudy.training.replicas import NEVER, ReplicaStates, Status
from rnnstudy.writers.base import Entry, Scalar, Writer

SECONDS_BETWEEN_TABLES = 0.5
MOST_DRAWING = 0.01
"""Most of the time that drawing may take, as a fraction: a long table is drawn less often."""

SECONDS_BETWEEN_LINES = 10.0


class Screen:
    """Display of the runs of a sweep, or of a single one.

    In a terminal it draws a table of all, from the first run that trains to the end of the `with` block; text printed
    on the same console, or written to stdout and stderr, appears above. Anywhere else, and outside of the block, it
    prints a line per run at intervals, without control codes.

    Args:
        console: Console to show them on.
        states: The runs to do, in order; any other is added when it begins.
        clock: Monotonic clock, in seconds.
    """

    def __init__(
        self, console: Console, states: Sequence[RunState] = (), *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Show nothing yet."""
        self.console, self.states, self.clock = console, list(states), clock
        self._entered = False
        self._live = None
        if _can_draw(console):
            live = partial(Live, console=console, auto_refresh=False, vertical_overflow="crop")
            self._live = live(get_renderable=self._table, redirect_stderr=sys.stderr.isatty())

    def __enter__(self) -> "Screen":
        self._entered = True
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the last table on the screen, and the terminal as it was."""
        self._entered = False
        for state in self.states:
            if state.stage is Stage.WAITING:
                state.stage = Stage.SKIPPED
        if self._live is not None:
            self._live.stop()

    @property
    def is_live(self) -> bool:
        """Whether there is a table, or will be once a run trains."""
        return self._live is not None and self._entered

    def follow(self, state: RunState) -> "RunProgress":
        """Return the progress of a run that begins: the first of its name that waits here, or else a new one."""
        for own in self.states:
            if own.name == state.name and own.stage is Stage.WAITING:
                return RunProgress(self, own)
        self.states.append(state)
        return RunProgress(self, state)

    def draw(self) -> float:
        """Redraw the table, if there is one; return the clock time of the next drawing."""
        began = self.clock()
        if self._live is not None and self._entered:
            if not self._live.is_started:
                self._live.start()
                # Left visible, it need not be restored if the process is killed.
                self.console.show_cursor(True)
            self._live.refresh()
        ended = self.clock()
        return ended + max(SECONDS_BETWEEN_TABLES, (ended - began) / MOST_DRAWING)

    def redraw(self) -> None:
        """Redraw the table, if it is on the screen already."""
        if self._live is not None and self._live.is_started:
            self._live.refresh()

    def _table(self) -> RenderableType:
        size = self.console.size
        return draw(self.states, self.clock(), width=size.width, height=size.height)

    def say_line(self, state: RunState) -> None:
        """Print the line of a run."""
        self.say(line(state, self.clock()))

    def say(self, text: str) -> None:
        """Print a line, above the table if there is one."""
        self.console.print(printable(text), highlight=False, markup=False, soft_wrap=True)


def waiting(name: str, plan: Plan) -> RunState:
    """Return the state of a run that waits."""
    facts = plan.task.facts
    return RunState(
        name=name,
        num_steps=plan.train.num_steps,
        replicas=plan.run.replicas,
        seq_len=facts.seq_len,
        judged=facts.solved is not None,
    )


def _can_draw(console: Console) -> bool:
    # Ask the file itself: FORCE_COLOR makes rich take a pipe for a terminal.
    in_terminal = console.is_interactive and console.file.isatty()
    return in_terminal and not console.quiet and console.encoding.startswith("utf")


class RunProgress(Listener, Writer):
    """Progress of one run, from before a look at its folder to its end; keeps `state` current and has it shown."""

    def __init__(self, screen: Screen, state: RunState) -> None:
        """Begin with a run that has not started."""
        self._screen, self.state = screen, state
        self._due = 0.0
        self._last: Progress | None = None
        self._lags: list[float | None] = []
        self._history: Path | None = None

    def __enter__(self) -> "RunProgress":
        self.state.stage = Stage.RUNNING
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Record how the run ended."""
        if kind is None:
            self.state.stage = Stage.DONE
        else:
            stopped = Stage.STOPPED if issubclass(kind, KeyboardInterrupt) else Stage.FAILED
            self.state.stage = Stage.ELSEWHERE if issubclass(kind, HeldError) else stopped
            self._take()
        if self.state.started is not None:
            self.state.ended = self._screen.clock()
        if isinstance(error, Exception):
            text = str(error) if isinstance(error, HeldError) else f"failed: {in_one_line(error)}"
            # The caller of a single run gets the error anyway.
            (self.say if len(self._screen.states) > 1 else self._note)(text)
        elif kind is not None:
            self._note(str(error) or "stopped")
        self._screen.redraw()

    def record_in(self, folder: RunFolder) -> None:
        """Write messages about the run, from now on, to its folder too."""
        self._history = folder.history

    def told(self) -> dict[str, Any]:
        """Return what other processes may read about the run, as JSON; called in a thread of its own."""
        self._take()
        return self.state.told(self._screen.clock())

    def start(self) -> None:
        """Show that the run starts here."""
        self.state.started = self._screen.clock()
        self._due = self.state.started + (0 if self._screen.is_live else SECONDS_BETWEEN_LINES)
        self._screen.draw()

    def resume(self, step: int, states: ReplicaStates) -> None:
        """Record the step after which the run resumes, and the state of each replica then."""
        self.state.resumed, self.state.step = True, step
        self._count(states)
        self.say(f"resumed after {step} steps")

    def say(self, text: str) -> None:
        """Print a line about the run."""
        self._note(text)
        self._screen.say(f"{self.state.name}: {text}")

    def _note(self, text: str) -> None:
        if self._history is not None:
            with suppress(OSError), open(self._history, "a", opener=open_unlinked) as file:
                file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {printable(text)}\n")

    @override
    def update(self, progress: Progress) -> None:
        now = self._screen.clock()
        if self.state.counted_from is None:
            self.state.counted_from = (progress.step, now)
        self._last = progress
        if now < self._due:
            return
        self._take()
        if self._screen.is_live:
            self._due = self._screen.draw()
        else:
            self._screen.say_line(self.state)
            self._due = now + SECONDS_BETWEEN_LINES

    def _take(self) -> None:
        """Bring the state up to the last step."""
        if self._last is not None:
            self.state.step, self.state.loss = self._last.step, self._last.loss
            self._count(self._last.states)

    def _count(self, states: ReplicaStates) -> None:
        self.state.diverged = int((states.status == Status.DIVERGED).sum())
        if self.state.judged:
            self.state.solved = int((states.steps_to_solve != NEVER).sum())

    @override
    def write(self, step: int, entries: Mapping[str, Entry]) -> None:
        if self._lags and (given_up := entries.get(tags.DIVERGED)) and isinstance(given_up.measured, Scalar):
            lost = given_up.measured.values.tolist()
            self._lags = [None if gone else lag for lag, gone in zip(self._lags, lost, strict=True)]
        tag = tags.top(tags.HORIZON, entries, state="h")
        if tag is None or not isinstance(measured := entries[tag].measured, Scalar):
            return
        lags = measured.values.tolist()
        self._lags = self._lags or [None] * len(lags)
        for replica in entries[tag].running:
            self._lags[replica] = lags[replica]
        self.state.horizon = median(self._lags)

    @override
    def close(self) -> None:
        pass
