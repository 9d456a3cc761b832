"""Columns of a table for people: cells of a run or of a pair, and explanations."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, TypeVar

from rnnstudy.report.analysis.phrases import of_all, plural
from rnnstudy.report.analysis.statistics import median_range

T = TypeVar("T")

Cell = tuple[str, str]
"""The figure, and further lines, which may be empty."""

DASH = "\N{EN DASH}"
"""There is no such figure: it was not logged, or the task has no criterion."""

NAN = "NaN"
"""The figure is not a number, as that of a replica that diverged."""

_MANY = 1_000_000  # from here on numbers are shown as powers of ten


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column for people.

    Args:
        header: Short name.
        meaning: One line.
        cells: Figure and further lines of each row.
        rank: 0 for a column that always stays; the largest leaves a narrow terminal first.
        is_setting: Whether it shows a setting, which may also stand behind the name.
    """

    header: str
    meaning: str
    cells: tuple[Cell, ...]
    rank: int = 0
    is_setting: bool = False

    def rows(self, start: int, stop: int) -> "Column":
        """Return the column of some rows alone."""
        return replace(self, cells=self.cells[start:stop])


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for people, without the columns that have the same cell in every row.

    Args:
        noun: What a row is, e.g. "run".
        every: All columns, the name first.
    """

    noun: str
    every: tuple[Column, ...]

    @cached_property
    def columns(self) -> list[Column]:
        """Columns whose cells differ, and the first; all columns of a table of one row."""
        return [column for column in self.every if column is self.every[0] or not self._is_equal(column)]

    @property
    def shared(self) -> str:
        """Line on the other columns, e.g. "All 7 runs: n 8, diverged 0/8."; empty without any."""
        equal = [column for column in self.every[1:] if self._is_equal(column)]
        told = [f"{column.header} {one_line(*column.cells[0])}" for column in equal]
        rows = len(self.every[0].cells) if self.every else 0
        return f"{of_all(rows, rows).capitalize()} {plural(self.noun, rows)}: {', '.join(told)}." if told else ""

    @staticmethod
    def _is_equal(column: Column) -> bool:
        return len(column.cells) > 1 and len(set(column.cells)) == 1


@dataclass(frozen=True)
class Rule(Generic[T]):
    """The rule that fills a column.

    Args:
        header: Short name.
        meaning: One line.
        cell: Figure and further lines of a row.
        order: Figure by which rows are sorted; NaN comes last.
        rank: As of the column.
        is_setting: As of the column.
    """

    header: str
    meaning: str
    cell: Callable[[T], Cell]
    order: Callable[[T], float] = lambda _: math.nan
    rank: int = 0
    is_setting: bool = False

    def fill(self, rows: Sequence[T]) -> Column:
        """Return the column."""
        cells = tuple(map(self.cell, rows))
        return Column(header=self.header, meaning=self.meaning, cells=cells, rank=self.rank, is_setting=self.is_setting)


def one_line(main: str, more: str) -> str:
    """Return a cell as one line, further lines in parentheses unless they are an interval."""
    more = ", ".join(more.splitlines())
    shown = f"{main} ({more})" if more and not more.startswith(("→", "[", "≈")) else f"{main} {more}"
    return " ".join(shown.split())


def show_number(value: float, *, digits: int = 3) -> str:
    """Return a number with so many significant digits; whole numbers below a million without a power of ten."""
    if math.isnan(value):
        return NAN
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    shown = f"{value:#.{digits}g}".rstrip(".")
    return f"{float(shown):.0f}" if "e+" in shown and abs(float(shown)) < _MANY else shown


def spread(values: Sequence[float], *, nan_as: float) -> tuple[float, float, float]:
    """Return median, minimum and maximum; NaN is the worst value, infinity of the sign of `nan_as`, and stays NaN."""
    found = median_range(values, nan_as=nan_as)
    if not any(map(math.isnan, values)):
        return found
    middle, low, high = (math.nan if value == nan_as else value for value in found)
    return middle, low, high
