"""`rnnstudy bench engine`: a training step with every hidden state's gradient, against plain torch.nn without."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from rnnstudy.bench.contestants import CELLS, SIZES, Problem
from rnnstudy.bench.timing import Stopwatch, Timing
from rnnstudy.core.numerics import Numerics
from rnnstudy.runs.folder import write_figures

AS_SHIPPED = "as shipped"
"""Marks the size S3 with torch's own settings: as many threads as it starts with, subnormal numbers kept."""

OTHERS = {"bare": "unrecorded", "torch_nn": "torch.nn", "unrolled": "unrolled", "floor": "floor"}
"""What our step is compared with, and how it is called in the table."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Args:
        cell: One of `CELLS`.
        size: One of `SIZES`; marked when measured with torch's own settings.
        replicas: Networks per step.
        timings: Way to the time of a step of all replicas.
    """

    cell: str
    size: str
    replicas: int
    timings: dict[str, Timing]

    def ratio(self, way: str) -> float:
        """Our time over the time of another way."""
        return self.timings["ours"].median / self.timings[way].median

    def per_replica(self, seconds: float) -> float:
        """Milliseconds per replica."""
        return seconds / self.replicas * 1e3

    def as_record(self) -> dict[str, Any]:
        """What goes into the JSON file: milliseconds per replica and step."""
        record: dict[str, Any] = {"cell": self.cell, "size": self.size, "replicas": self.replicas}
        for way, timing in self.timings.items():
            record[f"{way}_ms"] = self.per_replica(timing.median)
            record[f"{way}_quartiles_ms"] = [self.per_replica(seconds) for seconds in timing.quartiles]
        return record


@dataclass(frozen=True, kw_only=True)
class EngineBenchmark:
    """What to measure.

    Args:
        cells: Of `CELLS`.
        sizes: Of `SIZES`.
        replicas: How many networks at once.
        device: Where.
        seconds: At least this long per line, and at least five rounds.
    """

    cells: Sequence[str]
    sizes: Sequence[str]
    replicas: Sequence[int]
    device: torch.device
    seconds: float

    def run(self, console: Console, path: Path | None) -> None:
        """Measure, print every line as it is done and the medians at the end, and write the rows to a file if given."""
        rows: list[Row] = []
        for row in self._rows():
            rows.append(row)
            console.print(_described(row), highlight=False, soft_wrap=True)
        console.print(_ratios(rows))
        if path is not None:
            write_figures(path, [row.as_record() for row in rows])

    def _rows(self) -> Iterator[Row]:
        shipped = Numerics(threads=torch.get_num_threads(), flush_subnormals=False)
        for cell in self.cells:
            for size in self.sizes:
                for replicas in self.replicas:
                    yield self._row(cell, size, replicas, Numerics())
            if self.device.type == "cpu" and "S3" in self.sizes:
                yield self._row(cell, "S3", max(self.replicas), shipped)

    def _row(self, cell: str, size: str, replicas: int, numerics: Numerics) -> Row:
        problem = Problem(cell=CELLS[cell], size=SIZES[size], replicas=replicas, device=self.device)
        ways = {
            "ours": problem.ours(),
            "bare": problem.ours(record=False),
            "torch_nn": problem.torch_nn(),
            "unrolled": problem.unrolled(),
            "floor": problem.floor(),
        }
        with numerics.applied():
            timings = Stopwatch(device=self.device, seconds=self.seconds).measure(ways)
        name = size if numerics == Numerics() else f"{size} {AS_SHIPPED}"
        return Row(cell=cell, size=name, replicas=replicas, timings=timings)


def _described(row: Row) -> str:
    """Milliseconds per replica and step with their quartiles."""
    ours, other = row.timings["ours"], row.timings["torch_nn"]
    spread = [
        f"{row.per_replica(timing.median):.2f} ms ({', '.join(f'{row.per_replica(q):.2f}' for q in timing.quartiles)})"
        for timing in (ours, other)
    ]
    replicas = "replica" if row.replicas == 1 else "replicas"
    return f"{row.cell} {row.size}, {row.replicas} {replicas}: ours {spread[0]}, torch.nn {spread[1]} per replica"


def _ratios(rows: Sequence[Row]) -> Table:
    """The table of ratios, with the medians over the sizes."""
    table = Table(
        title="Time of a training step that records every dL/dh_t, over the time of ...",
        caption="Forward, loss at the last step, backward. As shipped: torch's own threads and subnormal numbers.",
    )
    for name in ("cell", "size", "replicas"):
        table.add_column(name, justify="right" if name == "replicas" else "left")
    for title in OTHERS.values():
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(row.cell, row.size, str(row.replicas), *(f"{row.ratio(way):.2f}" for way in OTHERS))
    table.add_section()
    for cell, replicas in dict.fromkeys((row.cell, row.replicas) for row in rows):
        group = [row for row in rows if (row.cell, row.replicas) == (cell, replicas) and row.size in SIZES]
        medians = (median(row.ratio(way) for row in group) for way in OTHERS)
        table.add_row(cell, "median", str(replicas), *(f"{ratio:.2f}" for ratio in medians), style="bold")
    return table
