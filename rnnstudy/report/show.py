"""The tables of a comparison in a terminal, as Markdown and as LaTeX."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rnnstudy.core.text import printable
from rnnstudy.report.contents import Contents
from rnnstudy.report.tables.by_pair import FIGURES, effect_columns
from rnnstudy.report.tables.columns import Table
from rnnstudy.report.tables.latex import latex_table
from rnnstudy.report.tables.text import escape_markdown, fit_width, markdown_table, terminal_table

EXPLAINED = {"n", "solved", "log ratio", "horizon", "decay", "diverged", "largest norm", "verdict", "spikes", "active"}
"""Columns whose headers need an explanation."""

MAX_SHOWN = 40
"""Rows of a table in a terminal."""


def show_tables(contents: Contents, console: Console) -> None:
    """Print the table of runs, group by group, and that of comparisons; a narrow terminal gets fewer columns."""
    table, missing = fit_width(contents.table.columns, console.width)
    for group, part in contents.parts(table, MAX_SHOWN):
        console.print(terminal_table(part, title=group.title))
    _show_rest(contents.table, contents.folder / "runs.csv", missing, console)
    for column in table:
        if column.header in EXPLAINED or column.header.startswith("at "):
            console.print(Text(f"{column.header}: {column.meaning}", style="dim"))
    if contents.comparisons:
        table, missing = fit_width(contents.paired.columns, console.width)
        title = f"\nCompared with {contents.baseline}"
        console.print(terminal_table([column.rows(0, MAX_SHOWN) for column in table], title=title))
        _show_rest(contents.paired, contents.folder / "comparisons.csv", missing, console)
        console.print(Text(FIGURES, style="dim"))


def _show_rest(table: Table, place: Path, missing: Sequence[str], console: Console) -> None:
    if (more := len(table.every[0].cells) - MAX_SHOWN) > 0:
        console.print(Text(printable(f"and {more} more rows: {place}")), soft_wrap=True)
    if table.shared:
        console.print(Text(printable(table.shared)))
    if missing:
        told = f"No room for: {', '.join(missing)}. The report has them, and a wider terminal."
        console.print(Text(printable(told), style="dim"))


def markdown_tables(contents: Contents) -> str:
    """Return both tables as Markdown, that of runs group by group."""
    parts: list[str] = []
    for group, part in contents.parts(contents.table.columns):
        parts += [f"**{escape_markdown(group.title)}**\n"] if group.title else []
        parts.append(markdown_table(part))
    parts += _markdown_note(contents.table)
    if contents.comparisons:
        parts += [f"**Compared with {escape_markdown(contents.baseline)}**\n", markdown_table(contents.paired.columns)]
        parts += [*_markdown_note(contents.paired), f"{escape_markdown(FIGURES)}\n"]
    if contents.levels.every:
        parts += ["**Over all tasks**\n", markdown_table(contents.levels.columns), *_markdown_note(contents.levels)]
    return "\n".join(parts)


def _markdown_note(table: Table) -> list[str]:
    return [f"{escape_markdown(table.shared)}\n"] if table.shared else []


def latex_tables(contents: Contents) -> dict[str, str]:
    """Return the tables as LaTeX by file name: that of runs group by group, that of comparisons measure by measure."""
    runs = [(group.title, part) for group, part in contents.parts(contents.table.columns)]
    files = {"table.tex": latex_table(runs, note=contents.table.shared)}
    if contents.comparisons:
        effects = Table(noun="difference", every=tuple(effect_columns(contents.comparisons)))
        files["comparisons.tex"] = latex_table([("", effects.columns)], note=effects.shared)
    return files
