"""A run's append-only logs, read into arrays."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnstudy.runs.fields import MOST, UnreadableRunError, is_number
from rnnstudy.runs.untrusted import parse_json, read_regular


@dataclass(frozen=True, kw_only=True)
class Track:
    """One logged quantity of a run, for every replica, over training steps.

    Args:
        steps: Optimizer steps at which any replica logged it, ascending; shape `(step,)`.
        values: Shape `(step, replica)`, or `(step, replica, time)` for a curve.
        logged: Whether that replica logged it at that step (a missing value is not a NaN); shape `(step, replica)`.
    """

    steps: np.ndarray
    values: np.ndarray
    logged: np.ndarray

    def carried(self) -> np.ndarray:
        """Return the values with each replica's last one carried forward; NaN before its first."""
        last = np.maximum.accumulate(np.where(self.logged, np.arange(len(self.steps))[:, None], -1), axis=0)
        values = self.values[last, np.arange(self.values.shape[1])]
        values[last < 0] = np.nan
        return values

    def logged_replicas(self) -> np.ndarray:
        """Return the indices of the replicas that logged it at least once."""
        return np.flatnonzero(self.logged.any(axis=0))

    def first(self) -> np.ndarray:
        """Return the first value of each replica that logged any."""
        replicas = self.logged_replicas()
        return self.values[self.logged.argmax(axis=0)[replicas], replicas]

    def last(self) -> np.ndarray:
        """Return the last value of each replica that logged any."""
        return self.carried()[-1, self.logged_replicas()]

    def of_replica(self, replica: int) -> np.ndarray:
        """Return the values of one replica in the order of the steps; may be empty."""
        return self.values[self.logged[:, replica], replica]


_Row = dict[str, Any]
_TakeEntries = Callable[[_Row, str], Iterable[tuple[str, Any]]]
"""Function from a line and its name in errors to the tags and values in it."""


def read_metrics(path: Path, replicas: int) -> dict[str, Track]:
    """Return the scalars of a run, tag to track, empty without a file; raise UnreadableRunError if it is corrupt."""
    return _read(path, replicas, _scalars)


def read_curves(path: Path, replicas: int) -> dict[str, Track]:
    """Return the curves of a run, tag to track, empty without a file; raise UnreadableRunError if it is corrupt."""
    lengths: dict[str, int] = {}

    def curve(row: _Row, source: str) -> Iterable[tuple[str, np.ndarray]]:
        tag, values = row.get("tag"), row.get("values")
        if not isinstance(tag, str):
            raise UnreadableRunError(f"corrupt: {source}: 'tag' must be a string, is {tag!r:.60}")
        numbers = _numbers(values, source)
        if lengths.setdefault(tag, len(numbers)) != len(numbers):
            raise UnreadableRunError(f"corrupt: {source}: {len(numbers)} values, {lengths[tag]} in earlier lines")
        return [(tag, numbers)]

    return _read(path, replicas, curve)


def _read(path: Path, replicas: int, take_entries: _TakeEntries) -> dict[str, Track]:
    columns: defaultdict[str, list[tuple[int, int, Any]]] = defaultdict(list)
    for source, row in _lines(path):
        step, replica = _position(row, replicas, source)
        for tag, value in take_entries(row, source):
            columns[tag].append((step, replica, value))
    return {tag: _track(column, replicas) for tag, column in columns.items()}


def _track(column: list[tuple[int, int, Any]], replicas: int) -> Track:
    """Return the entries of one tag (step, replica, value), in the order of the file, as a track."""
    steps, rows = np.unique(np.array([step for step, _, _ in column]), return_inverse=True)
    entries = np.array([value for _, _, value in column], dtype=np.float64)
    places = rows, [replica for _, replica, _ in column]
    values = np.full((len(steps), replicas, *entries.shape[1:]), np.nan)
    logged = np.zeros((len(steps), replicas), dtype=bool)
    # A resumed run repeats steps: numpy keeps the later entry, which is the valid one.
    values[places], logged[places] = entries, True
    return Track(steps=steps, values=values, logged=logged)


def _lines(path: Path) -> Iterable[tuple[str, _Row]]:
    """Yield the lines of a file of JSON mappings, each with its name for errors; skip a torn last line only."""
    if not path.exists():
        return
    lines = read_regular(path, most=None).split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        source = f"{path.name}, line {number}"
        try:
            content = parse_json(line)
        except ValueError as error:
            # A kill can tear only the last line, whose line end is then missing.
            if number == len(lines):
                return
            raise UnreadableRunError(f"corrupt: {source} is no JSON") from error
        if not isinstance(content, dict):
            raise UnreadableRunError(f"corrupt: {source} holds no mapping")
        yield source, content


def _position(row: _Row, replicas: int, source: str) -> tuple[int, int]:
    step, replica = row.get("step"), row.get("replica")
    if not isinstance(step, int) or not 0 <= step <= MOST:
        raise UnreadableRunError(f"corrupt: {source}: 'step' must be a whole number from 0, is {step!r:.60}")
    if not isinstance(replica, int) or not 0 <= replica < replicas:
        raise UnreadableRunError(f"corrupt: {source}: 'replica' must be from 0 to {replicas - 1}, is {replica!r:.60}")
    return step, replica


def _scalars(row: _Row, source: str) -> Iterable[tuple[str, float]]:
    for tag, value in row.items():
        if tag not in {"step", "replica"}:
            if not is_number(value):
                raise UnreadableRunError(f"corrupt: {source}: '{tag:.60}' must be a number, is {value!r:.60}")
            yield tag, value


def _numbers(values: object, source: str) -> np.ndarray:
    try:
        numbers = np.array(values)
    except ValueError as error:  # nested lists of different lengths
        raise UnreadableRunError(f"corrupt: {source}: 'values' must be a list of numbers") from error
    if numbers.ndim != 1 or not numbers.size or numbers.dtype.kind not in "if":
        raise UnreadableRunError(f"corrupt: {source}: 'values' must be a list of numbers")
    return numbers
