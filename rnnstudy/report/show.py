"""The tables of a comparison in a terminal and as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rnnstudy.core.text import printable
from rnnstudy.report.contents import Contents
from rnnstudy.report.tables.by_run import Column
from rnnstudy.report.tables.text import escape_markdown, fit_width, markdown_table, slice_rows, terminal_table

EXPLAINED = {"n", "solved", "log ratio", "horizon", "decay", "active", "state"}
"""Columns whose headers do not speak for themselves."""

PAIRED_LEGEND = (
    "Δ: this run less its baseline, mean over pairs, with its 95 % bootstrap interval; in Δ steps a replica that never "
    "solved the task counts as the end of what both runs were trained for. P: share of pairs in which this run is "
    "better (of horizon and decay: higher), ties half."
)

MAX_SHOWN = 40
"""Rows of a table in a terminal."""


def show_tables(contents: Contents, table: Sequence[Column], paired: Sequence[Column], *, console: Console) -> None:
    """Print the table of runs, group by group, and that of comparisons.

    Args:
        contents: What they are about.
        table: Columns; rows are the runs of the groups, one group after the other.
        paired: Columns of the comparisons; may be empty.
        console: Where they go; columns that can be missed make room on a narrow one.
    """
    _show_runs(contents, table, console)
    _show_comparisons(contents, paired, console)


def _show_runs(contents: Contents, table: Sequence[Column], console: Console) -> None:
    table, missing = fit_width(table, console.width)
    start, left = 0, MAX_SHOWN
    for group in contents.groups:
        rows = min(len(group.summaries), left)
        if rows:
            console.print(terminal_table(slice_rows(table, start, start + rows), title=group.title))
        start, left = start + len(group.summaries), left - rows
    _show_rest(start - MAX_SHOWN, contents.folder / "runs.csv", missing, console)
    _explain(table, console)


def _show_comparisons(contents: Contents, paired: Sequence[Column], console: Console) -> None:
    if not paired:
        return
    table, missing = fit_width(paired, console.width)
    title = f"\nAgainst {contents.baseline}, replica by replica"
    console.print(terminal_table(slice_rows(table, 0, MAX_SHOWN), title=title))
    _show_rest(len(contents.comparisons) - MAX_SHOWN, contents.folder / "comparisons.csv", missing, console)
    console.print(Text(PAIRED_LEGEND, style="dim"))


def _show_rest(hidden: int, place: Path, missing: Sequence[str], console: Console) -> None:
    if hidden > 0:
        console.print(Text(printable(f"and {hidden} more rows: {place}")), soft_wrap=True)
    if missing:
        told = f"No room for: {', '.join(missing)}. The report has them, and a wider terminal."
        console.print(Text(told, style="dim"))


def _explain(table: Sequence[Column], console: Console) -> None:
    for column in table:
        if column.header in EXPLAINED or column.header.startswith("at "):
            console.print(Text(f"{column.header}: {column.meaning}", style="dim"))


def markdown_tables(contents: Contents, table: Sequence[Column], paired: Sequence[Column]) -> str:
    """Return both tables as Markdown, group by group.

    Args:
        contents: What they are about.
        table: Columns; rows are the runs of the groups, one group after the other.
        paired: Columns of the comparisons; may be empty.

    Returns:
        Markdown.
    """
    parts: list[str] = []
    start = 0
    for group in contents.groups:
        stop = start + len(group.summaries)
        parts += [f"**{escape_markdown(group.title)}**\n"] if group.title else []
        parts.append(markdown_table(slice_rows(table, start, stop)))
        start = stop
    if paired:
        parts += [f"**Against {escape_markdown(contents.baseline)}**\n", markdown_table(paired)]
    return "\n".join(parts)
