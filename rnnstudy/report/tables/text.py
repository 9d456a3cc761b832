"""Tables as text: for a terminal, and as Markdown."""

import re
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from rnnstudy.core.text import printable
from rnnstudy.report.tables.columns import Column

_DISPENSABLE = (
    *("time", "skip", "decay", "horizon", "active", "accuracy", "log ratio"),
    *("decay?", "Δ decay", "horizon?", "Δ horizon", "spikes?", "Δ spikes", "largest norm?", "Δ largest norm"),
    *("loss?", "Δ loss", "diverged?", "Δ diverged", "loss", "n"),
)
"""Headers of columns that a narrow terminal omits, the least important first."""

_GAP = 2  # characters between columns
_SPECIAL = re.compile(r"([\\`*_\[\]<>|$~#])")


def fit_width(table: Sequence[Column], width: int) -> tuple[list[Column], list[str]]:
    """Return the columns that fit on a line of `width` characters, and the headers of the others."""
    left, dropped = list(table), list[str]()
    for header in _DISPENSABLE:
        if sum(_widest(column) + _GAP for column in left) <= width:
            break
        if header in (column.header for column in left):
            left = [column for column in left if column.header != header]
            dropped.append(header)
    return left, dropped


def terminal_table(table: Sequence[Column], *, title: str = "") -> Table:
    """Return a table for a terminal."""
    heading = _text(*title.split("\n"), style="bold") if title else None
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=heading, title_justify="left")
    for number, column in enumerate(table):
        justify = "left" if number == 0 else "right"
        shown.add_column(_text(column.header), justify=justify, overflow="fold", min_width=min(4, _widest(column)))
    for cells in zip(*(column.cells for column in table), strict=True):
        shown.add_row(*(_text(*filter(None, cell)) for cell in cells))
    return shown


def _text(*lines: str, style: str = "") -> Text:
    """Return text, not markup: a name may hold square brackets."""
    return Text("\n".join(map(printable, lines)), style=style)


def markdown_table(table: Sequence[Column]) -> str:
    """Return a table as Markdown, the second line of a cell in parentheses unless it is an interval."""
    header = [escape_markdown(column.header) for column in table]
    rows = zip(*([_markdown_cell(*cell) for cell in column.cells] for column in table), strict=True)
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ["---", *["---:"] * (len(table) - 1)], *rows))


def _widest(column: Column) -> int:
    return max(len(column.header), *(len(part) for cell in column.cells for part in cell))


def _markdown_cell(main: str, second: str) -> str:
    shown = f"{main} ({second})" if second and not second.startswith(("→", "[")) else f"{main} {second}"
    return escape_markdown(" ".join(shown.split()))


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", text)
