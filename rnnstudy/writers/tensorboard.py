"""The TensorBoard view of a run."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from typing_extensions import override

from rnnstudy.writers.base import Curve, Entry, Histogram, Scalar, Writer
from rnnstudy.writers.heatmap import heatmap_image, log10_norms

HEATMAP_PART = "/total"
"""Curves whose tag ends so are drawn as heatmaps; the other parts are in the run's log."""


class TensorBoard(Writer):
    """Scalars (median over the replicas), histograms, heatmaps and text as TensorBoard event files.

    A replica that has stopped keeps its last figure in the median. A heatmap (training step by time step, log10 of the
    median) is drawn anew when the number of its rows has doubled, and at the end: drawing costs far more than writing.

    Args:
        folder: Where the event files go.
        purge_step: Entries of older files from this step on are to be forgotten.
    """

    def __init__(self, folder: Path, purge_step: int = 0) -> None:
        """Open a new event file."""
        self._writer = SummaryWriter(str(folder), purge_step=purge_step)
        self._scalars: dict[str, dict[int, float]] = defaultdict(dict)
        self._curves: dict[str, dict[int, list[float]]] = defaultdict(dict)
        self._rows: dict[str, list[tuple[int, np.ndarray]]] = defaultdict(list)

    def text(self, tag: str, markdown: str) -> None:
        """Write a text."""
        self._writer.add_text(tag, markdown)

    def restore(self, metrics: Iterable[dict[str, Any]], curves: Iterable[dict[str, Any]]) -> None:
        """Take up, from the run's log, what an interrupted run had shown."""
        for record in metrics:
            for tag, figure in record.items():
                self._scalars[tag][record["replica"]] = figure
        pending: dict[tuple[str, int], None] = {}
        for record in curves:
            if record["tag"].endswith(HEATMAP_PART):
                key = (record["tag"], record["step"])
                for tag, step in [other for other in pending if other[0] == key[0] and other != key]:
                    self._add_row(tag, step)
                    del pending[tag, step]
                pending[key] = None
                self._curves[record["tag"]][record["replica"]] = record["values"]
        for tag, step in pending:
            self._add_row(tag, step)

    @override
    def write(self, step: int, entries: Mapping[str, Entry]) -> None:
        for tag, entry in entries.items():
            match entry.measured:
                case Scalar(values=values):
                    figures = values.tolist()
                    self._scalars[tag].update({replica: figures[replica] for replica in entry.running})
                    # A figure that no replica has ever had has no median.
                    if entry.scheduled and self._scalars[tag]:
                        self._writer.add_scalar(tag, float(_median(list(self._scalars[tag].values()))), step)
                case Curve(values=values):
                    if tag.endswith(HEATMAP_PART):
                        self._curves[tag].update({replica: values[replica].tolist() for replica in entry.running})
                        if entry.scheduled and self._curves[tag]:
                            self._add_row(tag, step)
                            if len(self._rows[tag]).bit_count() == 1:
                                self._draw(tag)
                case Histogram() as histogram:
                    if entry.scheduled:
                        self._add_histogram(tag, histogram, step, entry.running)

    def _add_row(self, tag: str, step: int) -> None:
        self._rows[tag].append((step, _median(list(self._curves[tag].values()))))

    def _draw(self, tag: str) -> None:
        steps, rows = zip(*self._rows[tag], strict=True)
        image = heatmap_image(np.array(steps), log10_norms(np.array(rows)))
        self._writer.add_image(f"{tag}/heatmap", image, steps[-1], dataformats="HWC")

    def _add_histogram(self, tag: str, histogram: Histogram, step: int, running: list[int]) -> None:
        counts = histogram.counts[running].sum(0).double().cpu()
        filled = counts.nonzero().flatten()
        if not len(filled):
            return
        first, last = int(filled[0]), int(filled[-1])
        counts = counts[first : last + 1]
        edges = histogram.low + histogram.width * torch.arange(first, last + 2, dtype=torch.float64)
        centres = edges[:-1] + histogram.width / 2
        self._writer.add_histogram_raw(
            tag,
            min=float(edges[0]),
            max=float(edges[-1]),
            num=float(counts.sum()),
            sum=float((counts * centres).sum()),
            sum_squares=float((counts * centres.square()).sum()),
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=step,
        )

    @override
    def close(self) -> None:
        for tag, rows in self._rows.items():
            if len(rows).bit_count() != 1:
                self._draw(tag)
        self._writer.close()


def _median(figures: list[Any]) -> Any:
    """The median over the replicas; NaN between minus and plus infinity."""
    with np.errstate(invalid="ignore"):
        return np.median(figures, axis=0)
