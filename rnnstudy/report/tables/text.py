"""Tables as text: for a terminal, and as Markdown."""

import re
from collections.abc import Sequence
from dataclasses import replace

from rich import box
from rich.table import Table
from rich.text import Text

from rnnstudy.core.text import printable
from rnnstudy.report.tables.columns import Column, one_line

_GAP = 2  # characters between columns
_NAME = 20  # characters of the first column that the others leave it
_SPECIAL = re.compile(r"([\\`*_\[\]<>|$~#])")


def fit_width(table: Sequence[Column], width: int) -> tuple[list[Column], list[str]]:
    """Return columns that fit on a line of `width` characters, and what they lack.

    Columns of the largest rank leave first. Then settings move behind the name, and columns lose the further lines of
    their cells, from the last on. Names are wrapped.
    """
    left, missing = list(table), list[str]()
    while _excess(left, width) > 0 and (rank := max(column.rank for column in left)):
        missing += [column.header for column in left if column.rank == rank]
        left = [column for column in left if column.rank != rank]
    if _excess(left, width) > max(0, _excess(merged := _with_settings(left), width)):
        left = merged
    for place in range(len(left) - 1, 0, -1):
        bare = replace(left[place], cells=tuple((main, "") for main, _ in left[place].cells))
        if _excess(left, width) > 0 and _need(bare) < _need(left[place]):
            left[place] = bare
            missing.append(f"details of {bare.header}")
    room = max(_NAME // 2, width - 1 - sum(_need(column) + _GAP for column in left[1:]) - _GAP)
    return [_wrapped(left[0], room), *left[1:]], missing


def _excess(columns: Sequence[Column], width: int) -> int:
    """Return how many characters too wide the columns are, if names are wrapped."""
    return 1 + sum(_need(column) + _GAP for column in (_wrapped(columns[0], _NAME), *columns[1:])) - width


def _need(column: Column) -> int:
    """Return the width of a column: that of its longest line, or of the longest word of its header."""
    lines = [line for cell in column.cells for part in cell for line in part.split("\n")]
    return max(map(len, [*column.header.split(), *lines]))


def _with_settings(columns: Sequence[Column]) -> list[Column]:
    """Return the columns without those of settings, which follow the names instead: "lstm, lag=20"."""
    settings = [column for column in columns if column.is_setting]
    cells = tuple(
        (", ".join([main, *(f"{column.header}={column.cells[row][0]}" for column in settings)]), more)
        for row, (main, more) in enumerate(columns[0].cells)
    )
    return [replace(columns[0], cells=cells), *(column for column in columns[1:] if not column.is_setting)]


def _wrapped(column: Column, width: int) -> Column:
    return replace(column, cells=tuple((_wrap(main, width), _wrap(more, width)) for main, more in column.cells))


def _wrap(text: str, width: int) -> str:
    """Return text in lines that end after a space or an underscore where they can."""
    lines = [""]
    for part in re.findall(r"[^ _]*[ _]+|[^ _]+$", printable(text)):
        if lines[-1] and len((lines[-1] + part).rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def terminal_table(table: Sequence[Column], *, title: str = "") -> Table:
    """Return a table for a terminal, the first column of any width."""
    heading = _text(*title.split("\n"), style="bold") if title else None
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=heading, title_justify="left")
    shown.add_column(_text(table[0].header), overflow="fold")
    for column in table[1:]:
        shown.add_column(_text(column.header), justify="right", overflow="fold", width=_need(column))
    for cells in zip(*(column.cells for column in table), strict=True):
        shown.add_row(*(_text(*(line for part in filter(None, cell) for line in part.split("\n"))) for cell in cells))
    return shown


def _text(*lines: str, style: str = "") -> Text:
    """Return text, not markup: a name may hold square brackets."""
    return Text("\n".join(map(printable, lines)), style=style)


def markdown_table(table: Sequence[Column]) -> str:
    """Return a table as Markdown, further lines of a cell in parentheses unless they are an interval."""
    header = [escape_markdown(column.header) for column in table]
    rows = zip(*([escape_markdown(one_line(*cell)) for cell in column.cells] for column in table), strict=True)
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, ["---", *["---:"] * (len(table) - 1)], *rows))


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", text)
