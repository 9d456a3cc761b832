"""`rnnstudy bench engine`: a training step with every hidden state's gradient, against plain torch.nn without."""

import json
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
from rnnstudy.core.run_folder import write_json

AS_SHIPPED = "as shipped"
"""Marks the size S3 with torch's own settings: as many threads as it starts with, subnormal numbers kept."""

OTHERS = {"torch_nn": "torch.nn", "unrolled": "unrolled", "floor": "matmul floor"}
"""What a training step of ours is compared with."""


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
        as_shipped: Whether to add a line per cell with torch's own settings.
    """

    cells: Sequence[str]
    sizes: Sequence[str]
    replicas: Sequence[int]
    device: torch.device
    seconds: float
    as_shipped: bool

    def run(self, console: Console, path: Path | None) -> None:
        """Measure, print the table and write the rows as JSON, if a file is given."""
        rows = []
        for row in self._rows():
            rows.append(row)
            console.print(_line(row), highlight=False, soft_wrap=True)
        console.print(_table(rows))
        console.print(_summary(rows))
        if path is not None:
            write_json(path, [row.as_record() for row in rows])

    def _rows(self) -> Iterator[Row]:
        shipped = Numerics(threads=torch.get_num_threads(), flush_subnormals=False)
        for cell in self.cells:
            for size in self.sizes:
                for replicas in self.replicas:
                    yield self._row(cell, size, replicas, Numerics())
            if self.as_shipped:
                yield self._row(cell, "S3", max(self.replicas), shipped)

    def _row(self, cell: str, size: str, replicas: int, numerics: Numerics) -> Row:
        problem = Problem(cell=CELLS[cell], size=SIZES[size], replicas=replicas, device=self.device)
        ways = {
            "ours": problem.ours(),
            "torch_nn": problem.torch_nn(),
            "unrolled": problem.unrolled(),
            "floor": problem.floor(),
        }
        with numerics.applied():
            timings = Stopwatch(device=self.device, min_rounds=5, seconds=self.seconds).measure(ways)
        name = size if numerics == Numerics() else f"{size} {AS_SHIPPED}"
        return Row(cell=cell, size=name, replicas=replicas, timings=timings)


def _line(row):
    return " ".join(
        [
            f"{row.cell:5}{row.size:14}{row.replicas:3}",
            *(
                f"{w} {row.per_replica(t.median):8.2f} [{row.per_replica(t.quartiles[0]):.2f} {row.per_replica(t.quartiles[1]):.2f}]"
                for w, t in row.timings.items()
            ),
            *(f"{w} {row.ratio(w):5.2f}" for w in OTHERS),
        ]
    )
