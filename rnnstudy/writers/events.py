"""Event files for TensorBoard; torch's own writer has a thread, which prints that the disk is full and continues."""

import io
import math
import os
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.histogram.metadata import create_summary_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto
from torch.utils.tensorboard import summary as summaries

from rnnstudy.runs.folder import open_unlinked

RANGE = (-16.0, 8.0)
"""Range of every histogram of log10, so that those of several runs can be compared; its ends hold what lies beyond.

TensorBoard draws 30 bars over the range of a histogram: with these limits, one bar is 0.8 powers of ten wide.
"""

_events: Any = event_pb2  # its classes are made at run time
_summaries: Any = summary_pb2
_PLAIN = {
    "simple_value": ("scalars", _summaries.DATA_CLASS_SCALAR),
    "image": ("images", _summaries.DATA_CLASS_BLOB_SEQUENCE),
}
_ROUNDING = 1e-9  # of bins
_FILE = re.compile(r"events\.out\.tfevents\.(\d{10})\..*")


class EventFile:
    """One event file.

    Args:
        folder: Folder of the file; made if missing.
        describe: Returns the description of a tag, in Markdown, from the tag and the field that holds its values:
            "simple_value" (a scalar), "image" or "tensor".
        purge_step: Step from which TensorBoard is to forget entries of older files there.
    """

    def __init__(self, folder: Path, describe: Callable[[str, str], str], purge_step: int = 0) -> None:
        """Open the file under a name that sorts behind those of older ones: TensorBoard reads them in that order."""
        folder.mkdir(parents=True, exist_ok=True)
        found = [_FILE.fullmatch(path.name) for path in folder.glob("events.out.tfevents.*")]
        # The names state the second; a clock may have been set back since the last one.
        seconds = max([int(time.time()), *(int(match[1]) + 1 for match in found if match)])
        path = folder / f"events.out.tfevents.{seconds:010d}.{socket.gethostname()}.{os.getpid()}"
        self._file = io.FileIO(path, "wb", opener=open_unlinked)
        self._describe, self._described = describe, set[str]()
        self._pending = io.BytesIO()
        self._records = RecordWriter(self._pending)
        self._add(_events.Event(file_version="brain.Event:2"), 0)
        self._add(_events.Event(session_log=_events.SessionLog(status=_events.SessionLog.START)), purge_step)
        self.flush()

    def _add(self, event: Any, step: int, wall_time: float | None = None) -> None:
        event.step, event.wall_time = int(step), time.time() if wall_time is None else wall_time
        self._records.write(event.SerializeToString())

    def scalars(self, step: int, figures: Mapping[str, float]) -> None:
        """Write scalars with one wall time, which margin charts require, as plain values, which every reader takes."""
        now = time.time()
        # Beyond float32 a figure becomes infinite.
        with np.errstate(over="ignore"):
            for tag, value in figures.items():
                self.summary(summaries.scalar(tag, value), step, now)

    def summary(self, summary: Any, step: int, wall_time: float | None = None) -> None:
        """Write a ready-made summary; the first one of a tag has its description, as readers keep no later one."""
        for value in summary.value:
            if value.tag not in self._described:
                self._described.add(value.tag)
                kind = value.WhichOneof("value")
                value.metadata.summary_description = self._describe(value.tag, kind)
                # Without its plugin and class, TensorBoard's data server drops the metadata of a plain value.
                if kind in _PLAIN:
                    value.metadata.plugin_data.plugin_name, value.metadata.data_class = _PLAIN[kind]
        self._add(_events.Event(summary=summary), step, wall_time)

    def charts(self, layout: Mapping[str, Mapping[str, Sequence[object]]]) -> None:
        """Write the layout of the page of charts."""
        self.summary(summaries.custom_scalars(layout), 0)

    def text(self, tag: str, text: str, step: int = 0) -> None:
        """Write Markdown."""
        self.summary(summaries.text(tag, text), step)

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Write an image; shape `(row, column, colour)`."""
        self.summary(summaries.image(tag, pixels, dataformats="HWC"), step)

    def histogram(self, tag: str, counts: np.ndarray, edges: tuple[float, float], step: int) -> None:
        """Write a histogram over `RANGE`.

        `counts` has the shape `(bin,)`; `edges` are the first left edge and the width; `step` is on the offset axis.
        """
        # TensorBoard cuts the empty ends off a histogram, unless it comes as a tensor.
        metadata = create_summary_metadata(display_name=tag, description="")
        tensor = make_tensor_proto(_buckets(counts, *edges))
        value = _summaries.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
        self.summary(_summaries.Summary(value=[value]), step)

    def flush(self) -> None:
        """Write everything so far to the file; raise OSError if the disk is full."""
        pending = self._pending.getvalue()
        self._pending.seek(0)
        self._pending.truncate()
        while pending:
            pending = pending[self._file.write(pending) or 0 :]

    def close(self) -> None:
        """Close the file; what is not flushed is lost."""
        self._file.close()


def _buckets(counts: np.ndarray, low: float, width: float) -> np.ndarray:
    """Return left edge, right edge and count of buckets over all `RANGE`, shape `(bucket, 3)`; both ends are empty."""
    lowest, highest = RANGE
    # Bins keep their edges; those that do not lie within the range are added to the first or the last that does.
    first = math.ceil((lowest - low) / width - _ROUNDING)
    last = max(first, math.floor((highest - low) / width + _ROUNDING) - 1)
    filled = np.flatnonzero(counts)
    places = filled.clip(first, last)
    start = places.min(initial=last)
    kept = np.bincount(places - start, counts[filled])
    borders = [lowest, *(low + width * np.arange(start, start + len(kept) + 1)), highest]
    return np.array([borders[:-1], borders[1:], [0, *kept, 0]], dtype=np.float32).T
