"""Columns of a table for people: cells of a run or of a pair, and explanations."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")

Cell = tuple[str, str]
"""The figure, and a second line, which may be empty."""

DASH = "\N{EN DASH}"
_MANY = 1_000_000  # from here on numbers are shown as powers of ten


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column for people.

    Args:
        header: Short name.
        meaning: One line.
        cells: Figure and second line of each row.
    """

    header: str
    meaning: str
    cells: tuple[Cell, ...]

    def rows(self, start: int, stop: int) -> "Column":
        """Return the column of some rows alone."""
        return replace(self, cells=self.cells[start:stop])


@dataclass(frozen=True)
class Rule(Generic[T]):
    """The rule that fills a column.

    Args:
        header: Short name.
        meaning: One line.
        cell: Figure and second line of a row.
        order: Figure by which rows are sorted; NaN comes last.
    """

    header: str
    meaning: str
    cell: Callable[[T], Cell]
    order: Callable[[T], float] = lambda _: math.nan

    def fill(self, rows: Sequence[T]) -> Column:
        """Return the column."""
        return Column(header=self.header, meaning=self.meaning, cells=tuple(map(self.cell, rows)))


def show_number(value: float, *, digits: int = 3) -> str:
    """Return a number with so many significant digits; whole numbers below a million without a power of ten."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "NaN"
    shown = f"{value:#.{digits}g}".rstrip(".")
    return f"{float(shown):.0f}" if "e+" in shown and abs(float(shown)) < _MANY else shown
