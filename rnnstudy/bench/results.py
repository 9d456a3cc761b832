"""Output of a benchmark: a table and a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rnnstudy.runs.folder import write_figures


def new_table(title: str, texts: Sequence[str], numbers: Sequence[str], caption: str | None = None) -> Table:
    """Make a table with left-aligned columns of text, then right-aligned columns of numbers."""
    table = Table(*texts, title=title, caption=caption)
    for header in numbers:
        table.add_column(header, justify="right")
    return table


def print_and_write(console: Console, table: Table, records: Sequence[dict[str, Any]], path: Path | None) -> None:
    """Print the table, and write the records as JSON if a file is given."""
    console.print(table)
    if path is not None:
        write_figures(path, records)
