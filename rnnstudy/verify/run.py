"""`rnnstudy verify`: all checks on all devices, the table, and what failed."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from rnnstudy.core.numerics import Numerics
from rnnstudy.runs.folder import write_figures
from rnnstudy.study.run.provenance import device_name, versions
from rnnstudy.verify import (
    autograd,
    closed_forms,
    differences,
    interventions,
    parts,
    products,
    terms,
    worked,
)
from rnnstudy.verify.figures import Figure, worst

CHECKS: dict[str, Callable[[torch.device], Iterator[Figure]]] = {
    "slopes, states nudged": interventions.check,
    "slopes, weights nudged": differences.check,
    "autograd, torch cells": autograd.check,
    "closed forms": closed_forms.check,
    "parts of the total": parts.check,
    "sums over time": terms.check,
    "worked examples": worked.check,
    "Jacobians": products.check,
}
"""By the title that the table gives them."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A check on all cells that it was made on; what the table shows as one line.

    Args:
        group: One of `CHECKS`.
        device: Where.
        figures: One per cell, of the same check against the same thing.
    """

    group: str
    device: torch.device
    figures: Sequence[Figure]

    @property
    def failures(self) -> list[Figure]:
        """The figures that are not as they should be."""
        return [figure for figure in self.figures if figure.failed]


def run(console: Console, devices: Sequence[torch.device], path: Path | None) -> bool:
    """Make all checks, print the table and what failed, and write the figures as JSON if a file is given.

    Args:
        console: Where to print.
        devices: Where to compute.
        path: The file.

    Returns:
        Whether nothing failed.
    """
    started = time.perf_counter()
    rows: list[Row] = []
    with Numerics().applied():
        for device in devices:
            rows += _rows(console, device)
    seconds = time.perf_counter() - started
    for device in devices:
        console.print(_table(device, [row for row in rows if row.device == device]))
    failed = [row for row in rows if row.failures]
    for line in (*_remarks(rows), *_complaints(failed)):
        console.print(line, highlight=False, markup=False)
    checked = sum(figure.tolerance is not None for row in rows for figure in row.figures)
    if failed:
        console.print(f"{len(failed)} of {len(rows)} rows FAILED; {seconds:.0f} s", style="bold red", highlight=False)
    else:
        console.print(f"All is well: {checked} comparisons in {seconds:.0f} s.", style="bold", highlight=False)
    if path is not None:
        write_figures(path, {"versions": versions(), "seconds": seconds, "figures": list(_records(rows))})
    return not failed


def _rows(console: Console, device: torch.device) -> list[Row]:
    rows: list[Row] = []
    for group, check in CHECKS.items():
        with console.status(f"{group}, on {device}"):
            by_check: dict[tuple[str, str], list[Figure]] = {}
            for figure in check(device):
                by_check.setdefault((figure.check, figure.against), []).append(figure)
        rows += [Row(group=group, device=device, figures=figures) for figures in by_check.values()]
    return rows


def _table(device: torch.device, rows: Iterable[Row]) -> Table:
    table = Table(
        title=f"Is every gradient what it is said to be? On {device_name(device)}",
        caption="Error: the largest relative error of all time steps, replicas and cells.",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for header in ("check", "compared with"):
        table.add_column(header)
    for header in ("cells", "error", "allowed"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("")
    group = ""
    for row in rows:
        if row.group != group:
            table.add_section()
            table.add_row(row.group, style="bold")
            group = row.group
        first = row.figures[0]
        error = worst(figure.error for figure in row.figures)
        allowed = "" if first.tolerance is None else f"{first.tolerance:.0e}" if first.tolerance else "0"
        verdict = "FAILED" if row.failures else "note" if first.tolerance is None else "ok"
        table.add_row(
            first.check,
            first.against,
            str(len(row.figures)),
            f"{error:.1e}",
            allowed,
            verdict,
            style="bold red" if row.failures else "",
        )
    return table


def _remarks(rows: Iterable[Row]) -> Iterator[str]:
    """What the figures for information say, each once.

    Yields:
        Sentences.
    """
    remarks = (figure.remark for row in rows for figure in row.figures if figure.remark)
    yield from (f"Note: {remark}" for remark in dict.fromkeys(remarks))


def _complaints(failed: Iterable[Row]) -> Iterator[str]:
    """Name every check that failed, and on which cells.

    Yields:
        A line for each row.
    """
    for row in failed:
        first = row.figures[0]
        cells = ", ".join(f"{figure.cell} ({figure.error:.1e})" for figure in row.failures)
        yield (
            f"FAILED on {row.device}: {row.group}: {first.check}, compared with {first.against}: {cells}; "
            f"allowed is {first.tolerance:.0e}."
        )


def _records(rows: Iterable[Row]) -> Iterator[dict[str, str | float | bool | None]]:
    """Every figure, for the file.

    Yields:
        A figure's names and numbers; an error that is not finite as text, which JSON has no number for.
    """
    for row in rows:
        for figure in row.figures:
            yield {
                "device": str(row.device),
                "group": row.group,
                "check": figure.check,
                "against": figure.against,
                "cell": figure.cell,
                "error": figure.error if math.isfinite(figure.error) else str(figure.error),
                "tolerance": figure.tolerance,
                "ok": None if figure.tolerance is None else not figure.failed,
            }
