"""The run's own log: append-only JSON lines, the source of truth; TensorBoard is a view of it."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from typing_extensions import override

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.events import Events
from rnnstudy.runs.folder import RunFolder, open_unlinked, write_atomically
from rnnstudy.writers.base import Curve, Entry, Histogram, HistogramOverTime, Scalar, Writer
from rnnstudy.writers.through_time import pooled

Record = dict[str, Any]
Mark = dict[str, Any]

_PART = 2**20  # bytes of a log that are read at once


class JsonLines:
    """A file of JSON records, one per line; each call of `append` reaches it whole or, at worst, torn at its end.

    Args:
        path: Path of the file; made if missing.
    """

    def __init__(self, path: Path) -> None:
        """Open for appending."""
        self._path = path
        self._file = open(path, "ab", buffering=0, opener=open_unlinked)  # noqa: SIM115 - closed by `close`
        self._hash = hashlib.sha256()

    def append(self, records: list[Record]) -> None:
        """Add records at the end, in one write."""
        lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records).encode()
        self._hash.update(lines)
        while lines:
            lines = lines[self._file.write(lines) or 0 :]

    def sync(self) -> Mark:
        """Return the length in bytes and the SHA-256 once all is on the disk; only after `resume`, or of a new file."""
        os.fsync(self._file.fileno())
        return {"length": self._file.seek(0, os.SEEK_END), "sha256": self._hash.hexdigest()}

    def resume(self, mark: Mark) -> None:
        """Drop what was written after `sync` returned `mark`; raise RnnstudyError if earlier contents changed."""
        length = mark["length"]
        self._hash = hashlib.sha256()
        with self._path.open("rb") as file:
            while part := file.read(min(_PART, length)):
                self._hash.update(part)
                length -= len(part)
        if length or self._hash.hexdigest() != mark["sha256"]:
            lost = "records that the checkpoint counts on are gone" if length else "its records have changed"
            raise RnnstudyError(f"{self._path} is damaged: {lost}. Move the run folder away to run it anew.")
        self._cut(mark["length"])

    def clear(self) -> None:
        """Drop everything."""
        self._hash = hashlib.sha256()
        self._cut(0)

    def _cut(self, length: int) -> None:
        self._file.truncate(length)
        self._file.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RunLog(Writer):
    """Writes `metrics.jsonl`, `curves.jsonl`, `histograms.jsonl` and `events.json` of a run folder.

    A metrics record is one step of one replica with all its scalars; a replica that has stopped has no more records. A
    curve that is the last of a replica which stops between two scheduled measurements is marked `"scheduled":false`.
    A histogram has the counts of all running replicas together. For one per time step, `counts` has a row for each of
    the `time_steps`, without the bins at both ends that are empty in all rows. The last counts of replicas that stop
    have a record of their own, in which `stopped` names them.

    Args:
        folder: The run folder; it must exist.
    """

    def __init__(self, folder: RunFolder) -> None:
        """Open the files."""
        self._folder = folder
        with ExitStack() as opened:
            paths = (folder.metrics, folder.curves, folder.histograms)
            self._files = [opened.enter_context(closing(JsonLines(path))) for path in paths]
            opened.pop_all()

    @override
    def write(self, step: int, entries: Mapping[str, Entry]) -> None:
        rows: dict[int, Record] = {}
        curves, histograms = list[Record](), list[Record]()
        for tag, entry in entries.items():
            match entry.measured:
                case Scalar(values=values):
                    figures = values.tolist()
                    for replica in entry.running:
                        row = rows.setdefault(replica, {"step": step, "replica": replica})
                        row[tag] = shorten(figures[replica])
                case Curve(values=values):
                    for replica in entry.running:
                        figures = [shorten(figure) for figure in values[replica].tolist()]
                        mark = {} if entry.scheduled else {"scheduled": False}
                        curves.append({"step": step, "replica": replica, "tag": tag, "values": figures} | mark)
                case Histogram() | HistogramOverTime() as histogram:
                    if entry.scheduled:
                        histograms.append({"step": step, "tag": tag} | _record_of(histogram, entry.running))
                    if entry.ending:
                        mark = {"step": step, "tag": tag, "stopped": entry.ending}
                        histograms.append(mark | _record_of(histogram, entry.ending))
        metrics = [rows[replica] for replica in sorted(rows)]
        for file, records in zip(self._files, (metrics, curves, histograms), strict=True):
            file.append(records)

    @override
    def show(self, events: Events) -> None:
        content = json.dumps(events.to_json(), separators=(",", ":"))
        write_atomically(self._folder.events, content.encode())

    def sync(self) -> list[Mark]:
        """Sync everything to the disk; return for `resume` the lengths of the files and hashes of their contents."""
        return [file.sync() for file in self._files]

    def resume(self, marks: list[Mark]) -> None:
        """Drop what was written after `sync` returned `marks`; raise RnnstudyError if earlier contents changed."""
        for file, mark in zip(self._files, marks, strict=True):
            file.resume(mark)

    def clear(self) -> None:
        """Drop everything."""
        self._folder.events.unlink(missing_ok=True)
        for file in self._files:
            file.clear()

    def metrics(self) -> Iterator[Record]:
        """Yield the metrics records so far."""
        return _records(self._folder.metrics)

    def curves(self) -> Iterator[Record]:
        """Yield the curve records so far."""
        return _records(self._folder.curves)

    def histograms(self) -> Iterator[Record]:
        """Yield the histogram records so far."""
        return _records(self._folder.histograms)

    @override
    def close(self) -> None:
        for file in self._files:
            file.close()


def shorten(figure: float) -> float:
    """Round to 9 significant digits, which distinguish any two float32 numbers."""
    return float(f"{figure:.9g}")


def _record_of(histogram: Histogram | HistogramOverTime, replicas: list[int]) -> Record:
    """Return the counts of some replicas together."""
    together = histogram.counts[replicas].sum(0)
    if isinstance(histogram, Histogram):
        return {"low": histogram.low, "width": histogram.width, "counts": together.tolist()}
    kept = pooled(histogram, together.cpu().numpy())
    return {"low": kept.low, "width": kept.width, "time_steps": kept.time_steps, "counts": kept.counts.tolist()}


def _records(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield json.loads(line)
            except ValueError:
                damage = f"{path} is damaged: line {number} is no JSON"
                raise RnnstudyError(f"{damage}. Move the run folder away to run it anew.") from None
