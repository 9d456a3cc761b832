"""`rnnstudy bench memory`: peak memory of a training step, and growth of time and memory with the sequence."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from rnnstudy.bench.baselines import CELLS, SIZES, Size, Work, Workload
from rnnstudy.bench.results import new_table, print_and_write
from rnnstudy.core.errors import RnnstudyError
from rnnstudy.core.numerics import Numerics
from rnnstudy.instruments.flight_recorder import FlightRecorder

SHORT, LONG = 1_000, 10_000
"""Time steps of the sequences whose costs per time step are compared."""

STEPS = 5
"""Training steps of a measurement."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A measurement in a process of its own, so that no other work's memory counts.

    Args:
        way: "ours", recording, "ring", which also keeps the default ring of steps before, or "torch_nn".
        cell: One of `CELLS`.
        replicas: Networks per step.
        size: Size of the problem.
    """

    way: str
    cell: str
    replicas: int
    size: Size

    def taken(self) -> "MemoryCost":
        """Take the measurement in a new process; raise RnnstudyError if it fails, usually because memory runs out."""
        command = [sys.executable, "-m", "rnnstudy.bench.memory", json.dumps(asdict(self))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RnnstudyError(f"measuring {self} failed with exit code {done.returncode}: {done.stderr[-300:]}")
        return MemoryCost(**json.loads(done.stdout))

    def _work(self, seq_len: int) -> Work:
        size = replace(self.size, seq_len=seq_len)
        problem = Workload(cell=CELLS[self.cell], size=size, replicas=self.replicas)
        rings = {"ours": 0, "ring": FlightRecorder().ring}
        return problem.ours(ring=rings[self.way]) if self.way in rings else problem.torch_nn()

    def take(self) -> "MemoryCost":
        """Take the measurement in this process."""
        with Numerics().applied():
            self._work(2)()
            step = self._work(self.size.seq_len)
            # Resets the peak to the present memory.
            Path("/proc/self/clear_refs").write_text("5")
            before = _status("VmRSS")
            seconds = []
            for _ in range(STEPS):
                started = time.perf_counter()
                step()
                seconds.append(time.perf_counter() - started)
        return MemoryCost(peak_mb=(_status("VmHWM") - before) / 1024, seconds=median(seconds))


@dataclass(frozen=True, kw_only=True)
class MemoryCost:
    """Result of a measurement.

    Args:
        peak_mb: Peak memory of the steps, in MB of 2^20 bytes, beyond that in use before them.
        seconds: Median time of a step.
    """

    peak_mb: float
    seconds: float


def _status(key: str) -> int:
    """Return a figure of this process from Linux, in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{key}:")).split()[1])


def measure_memory(console: Console, *, cells: Sequence[str], path: Path | None) -> None:
    """Measure, print, write JSON if a file is given; raise RnnstudyError on failure or without Linux's peak memory."""
    if not Path("/proc/self/clear_refs").exists():
        raise RnnstudyError("bench memory reads the peak memory of a process from Linux's /proc, which is not here.")
    records = [record for cell in cells for record in _rows(cell)]
    cell, what, *numbers = records[0]
    table = new_table("Memory at the peak of a recorded training step, and time per time step", [cell, what], numbers)
    for record in records:
        table.add_row(*(f"{figure:.2f}" if isinstance(figure, float) else str(figure) for figure in record.values()))
    print_and_write(console, table, records, path)


def _rows(cell: str) -> Iterator[dict[str, Any]]:
    def cost(way: str, replicas: int, size: Size) -> MemoryCost:
        return Measurement(way=way, cell=cell, replicas=replicas, size=size).taken()

    other = cost("torch_nn", 1, SIZES["S3"])
    for replicas in (8, 1):
        ours = cost("ours", replicas, SIZES["S3"])
        what = f"MB per replica at S3, {replicas} at once"
        yield _row(cell, what, (ours.peak_mb / replicas, other.peak_mb), "torch.nn, recording nothing")
    ringed, plain = cost("ring", 8, SIZES["S3"]), cost("ours", 8, SIZES["S3"])
    what = f"MB per replica at S3, 8 at once, and {FlightRecorder().ring} steps in the flight recorder"
    yield _row(cell, what, (ringed.peak_mb / 8, plain.peak_mb / 8), "no flight recorder")
    many, few = (
        cost("ours", 1, Size(batch_size=8, seq_len=seq_len, input_size=8, hidden_size=64)) for seq_len in (LONG, SHORT)
    )
    peaks = (many.peak_mb / LONG * 1000, few.peak_mb / SHORT * 1000)
    times = (many.seconds / LONG * 1e6, few.seconds / SHORT * 1e6)
    yield _row(cell, f"MB per 1000 time steps, {LONG} of them", peaks, f"{SHORT} time steps")
    yield _row(cell, f"microseconds per time step, {LONG} of them", times, f"{SHORT} time steps")


def _row(cell: str, what: str, figures: tuple[float, float], against: str) -> dict[str, Any]:
    ours, other = figures
    return {"cell": cell, "what": what, "ours": ours, "against": against, "other": other, "ratio": ours / other}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    json.dump(asdict(Measurement(**asked | {"size": Size(**asked["size"])}).take()), sys.stdout)
