"""Event files: a thin layer over torch's writer, with what it lacks."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from google.protobuf.message import Message
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from torch.utils.tensorboard import SummaryWriter

FLUSH_SECONDS = 10
"""How old what TensorBoard sees of a running run may be."""


class Events:
    """One event file.

    Args:
        folder: Where it goes; made if missing.
        purge_step: Entries of older files there from this step on are to be forgotten.
    """

    def __init__(self, folder: Path, purge_step: int = 0) -> None:
        """Open it, under a name that sorts behind those of older files: TensorBoard reads them in that order."""
        # The names tell the second; what follows it is no number of fixed width.
        while any(path.name.split(".")[3] == str(int(time.time())) for path in folder.glob("events.out.tfevents.*")):
            time.sleep(0.05)
        self.writer = SummaryWriter(str(folder), purge_step=purge_step, flush_secs=FLUSH_SECONDS)

    def scalars(self, step: int, figures: Mapping[str, float], descriptions: Mapping[str, str]) -> None:
        """Write scalars that have one wall time, which margin charts ask for.

        Args:
            step: Of the x axis.
            figures: Tag to figure.
            descriptions: Of the tags that have one.
        """
        now = time.time()
        for tag, figure in figures.items():
            if tag in descriptions:
                # Beyond float32 a figure becomes infinite.
                with np.errstate(over="ignore"):
                    self.summary(scalar_pb(tag, figure, descriptions[tag]), step, now)
            else:
                self.writer.add_scalar(tag, figure, step, walltime=now)

    def summary(self, summary: Message, step: int, wall_time: float | None = None) -> None:
        """Write a summary that is made already."""
        assert self.writer.file_writer is not None
        self.writer.file_writer.add_summary(summary, step, wall_time)

    def histogram(self, tag: str, counts: np.ndarray, edges: tuple[float, float], step: int) -> None:
        """Write a histogram with bins of one width, empty ones included.

        Args:
            tag: Its tag.
            counts: Of every bin, at least one; shape `(bin,)`.
            edges: Left edge of the first bin, and the width of every one.
            step: Of the offset axis.
        """
        low, width = edges
        borders = low + width * np.arange(len(counts) + 1)
        centres = borders[:-1] + width / 2
        self.writer.add_histogram_raw(
            tag,
            min=float(borders[0]),
            max=float(borders[-1]),
            num=float(counts.sum()),
            sum=float(counts @ centres),
            sum_squares=float(counts @ centres**2),
            bucket_limits=borders[1:].tolist(),
            bucket_counts=counts.astype(np.float64).tolist(),
            global_step=step,
        )
