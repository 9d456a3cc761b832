"""The tables of a comparison in a terminal and as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rnnstudy.core.text import printable
from rnnstudy.report.contents import Contents
from rnnstudy.report.tables.text import escape_markdown, fit_width, markdown_table, terminal_table

EXPLAINED = {"n", "solved", "log ratio", "horizon", "decay", "diverged", "largest norm", "spikes", "active", "state"}
"""Columns whose headers need an explanation."""

PAIRED_LEGEND = (
    "Δ: this run less its baseline, mean over pairs, with its 95 % bootstrap interval; in Δ steps a replica that never "
    "solved the task counts as the end of what both runs were trained for. P: share of pairs in which this run is "
    "better (of largest norm, spikes, horizon and decay: higher), ties half."
)

MAX_SHOWN = 40
"""Rows of a table in a terminal."""


def show_tables(contents: Contents, console: Console) -> None:
    """Print the table of runs, group by group, and that of comparisons; a narrow terminal gets fewer columns."""
    table, missing = fit_width(contents.table, console.width)
    for group, part in contents.parts(table, MAX_SHOWN):
        console.print(terminal_table(part, title=group.title))
    _show_rest(len(contents.summaries), contents.folder / "runs.csv", missing, console)
    for column in table:
        if column.header in EXPLAINED or column.header.startswith("at "):
            console.print(Text(f"{column.header}: {column.meaning}", style="dim"))
    if contents.paired:
        table, missing = fit_width(contents.paired, console.width)
        title = f"\nAgainst {contents.baseline}, replica by replica"
        console.print(terminal_table([column.rows(0, MAX_SHOWN) for column in table], title=title))
        _show_rest(len(contents.comparisons), contents.folder / "comparisons.csv", missing, console)
        console.print(Text(PAIRED_LEGEND, style="dim"))


def _show_rest(rows: int, place: Path, missing: Sequence[str], console: Console) -> None:
    if rows > MAX_SHOWN:
        console.print(Text(printable(f"and {rows - MAX_SHOWN} more rows: {place}")), soft_wrap=True)
    if missing:
        console.print(
            Text(f"No room for: {', '.join(missing)}. The report has them, and a wider terminal.", style="dim")
        )


def markdown_tables(contents: Contents) -> str:
    """Return both tables as Markdown, that of runs group by group."""
    parts: list[str] = []
    for group, part in contents.parts(contents.table):
        parts += [f"**{escape_markdown(group.title)}**\n"] if group.title else []
        parts.append(markdown_table(part))
    if contents.paired:
        parts += [f"**Against {escape_markdown(contents.baseline)}**\n", markdown_table(contents.paired)]
    return "\n".join(parts)
