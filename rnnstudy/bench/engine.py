"""`rnnstudy bench engine`: a training step with every hidden state's gradient, against plain torch.nn without."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from rnnstudy.bench.baselines import CELLS, SIZES, Workload
from rnnstudy.bench.results import new_table, print_and_write
from rnnstudy.bench.timing import Stopwatch, Timing
from rnnstudy.core.numerics import Numerics, select_device

AS_SHIPPED = "as shipped"
"""Label of size S3 with torch's own settings: its initial number of threads, subnormal numbers kept."""

OTHERS = {"bare": "unrecorded", "torch_nn": "torch.nn", "unrolled": "unrolled", "floor": "floor"}
"""Ways that our step is compared with, and their names in the table."""


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """One line of the table.

    Args:
        cell: One of `CELLS`.
        size: One of `SIZES`, with `AS_SHIPPED` if measured with torch's own settings.
        replicas: Networks per step.
        timings: Times of a step of all replicas, by way.
    """

    cell: str
    size: str
    replicas: int
    timings: dict[str, Timing]

    def ratio(self, way: str) -> float:
        """Return our time over that of another way."""
        return self.timings["ours"].median / self.timings[way].median

    def per_replica(self, seconds: float) -> float:
        """Convert seconds to milliseconds per replica."""
        return seconds / self.replicas * 1e3

    def as_record(self) -> dict[str, Any]:
        """Return the record of the JSON file, in milliseconds per replica and step."""
        record: dict[str, Any] = {"cell": self.cell, "size": self.size, "replicas": self.replicas}
        for way, timing in self.timings.items():
            record[f"{way}_ms"] = self.per_replica(timing.median)
            record[f"{way}_quartiles_ms"] = [self.per_replica(seconds) for seconds in timing.quartiles]
        return record


def measure_engine(
    console: Console,
    *,
    cells: Sequence[str],
    sizes: Sequence[str],
    replicas: Sequence[int],
    seconds: float,
    device: str,
    path: Path | None,
) -> None:
    """Measure, print every line when it is done, then the medians, and write the rows to a JSON file if given.

    A line takes at least `seconds` and five rounds. `cells` and `sizes` are names in `CELLS` and `SIZES`, `replicas`
    numbers of networks per step.
    """
    stopwatch = Stopwatch(device=select_device(device), seconds=seconds)
    settings = [(size, count, Numerics()) for size in sizes for count in replicas]
    if stopwatch.device.type == "cpu" and "S3" in sizes:
        shipped = Numerics(threads=torch.get_num_threads(), flush_subnormals=False)
        settings.append(("S3", max(replicas), shipped))
    rows: list[StepTimes] = []
    for cell in cells:
        for size, count, numerics in settings:
            problem = Workload(cell=CELLS[cell], size=SIZES[size], replicas=count, device=stopwatch.device)
            name = size if numerics == Numerics() else f"{size} {AS_SHIPPED}"
            with numerics.applied():
                ways = {
                    "ours": problem.ours(),
                    "bare": problem.ours(record=False),
                    "torch_nn": problem.torch_nn(),
                    "unrolled": problem.unrolled(),
                    "floor": problem.floor(),
                }
                timings = stopwatch.measure(ways)
            rows.append(StepTimes(cell=cell, size=name, replicas=count, timings=timings))
            console.print(_described(rows[-1]), highlight=False, soft_wrap=True)
    print_and_write(console, _ratios(rows), [row.as_record() for row in rows], path)


def _described(row: StepTimes) -> str:
    """Describe a row: milliseconds per replica and step, with their quartiles."""
    ours, other = row.timings["ours"], row.timings["torch_nn"]
    spread = [
        f"{row.per_replica(timing.median):.2f} ms ({', '.join(f'{row.per_replica(q):.2f}' for q in timing.quartiles)})"
        for timing in (ours, other)
    ]
    replicas = "replica" if row.replicas == 1 else "replicas"
    return f"{row.cell} {row.size}, {row.replicas} {replicas}: ours {spread[0]}, torch.nn {spread[1]} per replica"


def _ratios(rows: Sequence[StepTimes]) -> Table:
    """Return the table of ratios, with the medians over the sizes."""
    table = new_table(
        "Time of a training step that records every dL/dh_t, over the time of ...",
        ["cell", "size"],
        ["replicas", *OTHERS.values()],
        "Forward, loss at the last step, backward. As shipped: torch's own threads and subnormal numbers.",
    )
    for row in rows:
        table.add_row(row.cell, row.size, str(row.replicas), *(f"{row.ratio(way):.2f}" for way in OTHERS))
    table.add_section()
    for cell, replicas in dict.fromkeys((row.cell, row.replicas) for row in rows):
        group = [row for row in rows if (row.cell, row.replicas) == (cell, replicas) and row.size in SIZES]
        medians = (median(row.ratio(way) for row in group) for way in OTHERS)
        table.add_row(cell, "median", str(replicas), *(f"{ratio:.2f}" for ratio in medians), style="bold")
    return table
