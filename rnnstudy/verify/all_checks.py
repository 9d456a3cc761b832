"""`rnnstudy verify`: all checks on all devices, the table, and the failures."""

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
from rnnstudy.verify.adjoint_parts import check_adjoint_parts
from rnnstudy.verify.autograd import check_against_autograd
from rnnstudy.verify.closed_forms import check_closed_forms
from rnnstudy.verify.finding import Finding, worst_error
from rnnstudy.verify.jacobians import check_jacobians
from rnnstudy.verify.nudged_states import check_nudged_states
from rnnstudy.verify.nudged_weights import check_nudged_weights
from rnnstudy.verify.sums_over_time import check_sums_over_time
from rnnstudy.verify.worked_examples import check_worked_examples

CHECKS: dict[str, Callable[[torch.device], Iterator[Finding]]] = {
    "slopes, states nudged": check_nudged_states,
    "slopes, weights nudged": check_nudged_weights,
    "autograd, torch cells": check_against_autograd,
    "closed forms": check_closed_forms,
    "parts of the total": check_adjoint_parts,
    "sums over time": check_sums_over_time,
    "worked examples": check_worked_examples,
    "Jacobians": check_jacobians,
}
"""Checks by their title in the table."""


@dataclass(frozen=True, kw_only=True)
class CheckedRow:
    """A check on all its cells, one line of the table.

    Args:
        group: One of `CHECKS`.
        device: Device of the computation.
        findings: One per cell, with the same `check` and `against`.
    """

    group: str
    device: torch.device
    findings: Sequence[Finding]

    @property
    def failures(self) -> list[Finding]:
        """Findings that failed."""
        return [each for each in self.findings if each.failed]


def verify_gradients(console: Console, devices: Sequence[torch.device], path: Path | None) -> bool:
    """Run all checks, print table and failures, write JSON if a path is given; return whether nothing failed."""
    started = time.perf_counter()
    with Numerics().applied():
        rows = [row for device in devices for row in _rows(console, device)]
    seconds = time.perf_counter() - started
    for device in devices:
        console.print(_table(device, [row for row in rows if row.device == device]))
    failed = [row for row in rows if row.failures]
    notes = dict.fromkeys(f"Note: {each.remark}" for row in rows for each in row.findings if each.remark)
    for line in (*notes, *_complaints(failed)):
        console.print(line, highlight=False, markup=False)
    checked = sum(each.tolerance is not None for row in rows for each in row.findings)
    if failed:
        console.print(f"{len(failed)} of {len(rows)} rows FAILED; {seconds:.0f} s", style="bold red", highlight=False)
    else:
        console.print(f"All is well: {checked} comparisons in {seconds:.0f} s.", style="bold", highlight=False)
    if path is not None:
        write_figures(path, {"versions": versions(), "seconds": seconds, "figures": list(_records(rows))})
    return not failed


def _rows(console: Console, device: torch.device) -> Iterator[CheckedRow]:
    for group, check in CHECKS.items():
        with console.status(f"{group}, on {device}"):
            by_check: dict[tuple[str, str], list[Finding]] = {}
            for each in check(device):
                by_check.setdefault((each.check, each.against), []).append(each)
        yield from (CheckedRow(group=group, device=device, findings=found) for found in by_check.values())


def _table(device: torch.device, rows: Iterable[CheckedRow]) -> Table:
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
        first = row.findings[0]
        error = worst_error(each.error for each in row.findings)
        allowed = "" if first.tolerance is None else f"{first.tolerance:.0e}" if first.tolerance else "0"
        verdict = "FAILED" if row.failures else "note" if first.tolerance is None else "ok"
        cells = (first.check, first.against, str(len(row.findings)), f"{error:.1e}", allowed, verdict)
        table.add_row(*cells, style="bold red" if row.failures else "")
    return table


def _complaints(failed: Iterable[CheckedRow]) -> Iterator[str]:
    """Yield a line for every failed check, with the cells on which it failed."""
    for row in failed:
        first = row.findings[0]
        cells = ", ".join(f"{each.cell} ({each.error:.1e})" for each in row.failures)
        yield (
            f"FAILED on {row.device}: {row.group}: {first.check}, compared with {first.against}: {cells}; "
            f"allowed is {first.tolerance:.0e}."
        )


def _records(rows: Iterable[CheckedRow]) -> Iterator[dict[str, str | float | bool | None]]:
    """Yield names and numbers of every comparison; errors that are not finite as text, as JSON has no such number."""
    for row in rows:
        for each in row.findings:
            yield {
                "device": str(row.device),
                "group": row.group,
                "check": each.check,
                "against": each.against,
                "cell": each.cell,
                "error": each.error if math.isfinite(each.error) else str(each.error),
                "tolerance": each.tolerance,
                "ok": None if each.tolerance is None else not each.failed,
            }
