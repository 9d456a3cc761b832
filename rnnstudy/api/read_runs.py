"""Runs and their logs, from Python."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from typing_extensions import override

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.models.base import Network
from rnnstudy.report.analysis.naming import name_runs
from rnnstudy.runs.collection import read_sweep
from rnnstudy.runs.logs import Track
from rnnstudy.runs.outcome import Standing
from rnnstudy.runs.run import Run
from rnnstudy.runs.settings import walk
from rnnstudy.study.run.load import load_run
from rnnstudy.tasks.base import Task

if TYPE_CHECKING:
    import pandas


def require_pandas() -> Any:
    """Import and return pandas, which comes with an extra; raise RnnstudyError if it is not installed."""
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise RnnstudyError("Tables need pandas, which is not installed: pip install 'rnnstudy[notebook]'") from error
    return pandas


@dataclass(frozen=True, repr=False)
class RunView(os.PathLike[str]):
    """One run folder: settings, outcome, logs and networks. Where a path is expected, it stands for its folder.

    Args:
        run: The run as read from the folder; its logs are read on first use.
    """

    run: Run

    @override
    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.run.path

    @property
    def settings(self) -> dict[str, Any]:
        """Chosen members by group, and every setting by dotted path, such as "task.lag"."""
        config = dict(self.run.config)
        choices = config.pop("choices", {})
        return choices | dict(walk(config)) | choices

    @property
    def outcome(self) -> Standing:
        """State of every replica, steps to solve and last figures; of an unfinished run, those so far."""
        return self.run.standing

    def metrics(self) -> "pandas.DataFrame":
        """Return the logged scalars, one row per step and replica, one column per tag; NaN where not logged.

        Raises:
            RnnstudyError: pandas is missing, or the log is damaged.
        """
        frames = [_long(track, tag).set_index(["step", "replica"]) for tag, track in self.run.metrics.items()]
        pandas = require_pandas()
        return pandas.concat(frames, axis=1).sort_index().reset_index() if frames else pandas.DataFrame()

    def curves(self) -> "pandas.DataFrame":
        """Return the logged curves over time steps, one row per tag, step, replica and time step.

        Raises:
            RnnstudyError: pandas is missing, or the log is damaged.
        """
        pandas = require_pandas()
        frames = []
        for tag, track in self.run.curves.items():
            frame = _long(track, "value").explode("value")
            frame.insert(0, "tag", tag)
            frame.insert(3, "time_step", frame.groupby(["step", "replica"]).cumcount())
            frames.append(frame.astype({"value": float}))
        columns = ["tag", "step", "replica", "time_step", "value"]
        return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame(columns=columns)

    def network(self, step: int | None = None) -> Network:
        """Load the networks from a checkpoint; no code in the folder is run.

        Args:
            step: Optimizer steps after which the checkpoint was saved; None loads the last one.

        Returns:
            The networks, all replicas side by side, on the CPU.

        Raises:
            RnnstudyError: There is no such checkpoint, or it doesn't fit the configuration.
        """
        return load_run(self.path, step).network

    def task(self) -> Task:
        """Build the run's task.

        Returns:
            The task with the longest sequences that the run trains on.

        Raises:
            RnnstudyError: The run has no checkpoint yet, or its configuration is damaged.
        """
        return load_run(self.path).plan.task

    @override
    def __repr__(self) -> str:
        return f"RunView({str(self.path)!r})"

    def _repr_html_(self) -> str:
        return Runs([self])._repr_html_()


def _long(track: Track, name: str) -> "pandas.DataFrame":
    """Return what was logged as a table, one row per step and replica."""
    rows, replicas = track.logged.nonzero()
    columns = {"step": track.steps[rows], "replica": replicas, name: list(track.values[rows, replicas])}
    return require_pandas().DataFrame(columns)


class Runs(Sequence[RunView]):
    """Runs in order; a notebook shows them as a table of what differs between them, with their outcome.

    Args:
        runs: The runs.
        unreadable: One line per folder that could not be read, with the reason.
    """

    def __init__(self, runs: Sequence[RunView], unreadable: Sequence[str] = ()) -> None:
        """Keep the runs and the lines."""
        self._runs, self.unreadable = tuple(runs), tuple(unreadable)

    @overload
    def __getitem__(self, index: int) -> RunView: ...
    @overload
    def __getitem__(self, index: slice) -> "Runs": ...
    @override
    def __getitem__(self, index: int | slice) -> "RunView | Runs":
        return Runs(self._runs[index]) if isinstance(index, slice) else self._runs[index]

    @override
    def __len__(self) -> int:
        return len(self._runs)

    @override
    def __repr__(self) -> str:
        return f"Runs({[str(run.path) for run in self]})"

    def _repr_html_(self) -> str:
        entries = {id(entry.run): entry for entry in name_runs([run.run for run in self])}
        keys = list(dict.fromkeys(key for entry in entries.values() for key in entry.differing))
        rows = [["run", *keys, "replicas", "outcome", "steps"]]
        for view in self:
            entry, outcome = entries[id(view.run)], view.outcome
            states = ", ".join(f"{outcome.status.count(each)} {each}" for each in dict.fromkeys(outcome.status))
            told = [entry.differing[key] for key in keys]
            rows.append([entry.short, *told, str(view.run.replicas), states, str(outcome.last_step)])
        lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        notes = "".join(f"<p>{escape(line)}</p>" for line in self.unreadable)
        return f"<table>{lines}</table>{notes}"


def read_runs(*folders: str | os.PathLike[str]) -> Runs:
    """Read all runs at or below some folders; reading runs no code that they hold.

    >>> import rnnstudy as rs
    >>> folder = getfixture("tmp_path")
    >>> tiny = ("task=adding", "task.seq_len=5", "train.num_steps=3", "replicas=2")
    >>> done = rs.train(*tiny, output_dir=folder, quiet=True)
    >>> runs = rs.read_runs(folder)
    >>> runs[0].outcome.status
    ('finished', 'finished')
    >>> runs[0].settings["task.seq_len"]
    5

    Args:
        folders: Folders with runs at any depth.

    Returns:
        The runs, by the names of their folders. Damaged ones are left out and listed in `unreadable`.

    Raises:
        RnnstudyError: There is no run.
    """
    found = read_sweep(*map(Path, folders))
    return Runs([RunView(run) for run in found.runs], [*found.unusable, *found.unreadable])
