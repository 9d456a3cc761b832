"""How a run's progress is shown: a bar in a terminal, plain lines elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from typing_extensions import override

from rnnstudy.training.loop import Listener, Progress
from rnnstudy.training.replicas import NEVER, Status

SECONDS_BETWEEN_UPDATES = 0.2
SECONDS_BETWEEN_LINES = 10.0


class RunProgress(Listener):
    """Shows one run while it goes on.

    Args:
        console: Where to show it.
        name: What the run is called.
        num_steps: Optimizer steps at most.
    """

    def __init__(self, console: Console, name: str, num_steps: int) -> None:
        """Show nothing yet."""
        self._console, self._name, self._num_steps = console, name, num_steps
        self._shown_at = time.monotonic()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=num_steps, figures="")

    def __enter__(self) -> "RunProgress":
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    @override
    def update(self, progress: Progress) -> None:
        now = time.monotonic()
        interval = SECONDS_BETWEEN_UPDATES if self._console.is_terminal else SECONDS_BETWEEN_LINES
        if now - self._shown_at < interval:
            return
        self._shown_at = now
        figures = _figures(progress)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=progress.step, figures=figures)
        else:
            self._console.print(
                f"{self._name}  step {progress.step}/{self._num_steps}  {figures}", highlight=False, markup=False
            )


def _figures(progress: Progress) -> str:
    status, solved = progress.states.status, progress.states.steps_to_solve != NEVER
    figures = f"loss {progress.loss:.3g}  solved {int(solved.sum())}/{len(solved)}"
    diverged = int((status == Status.DIVERGED).sum())
    return f"{figures}  diverged {diverged}" if diverged else figures
