"""The contents of a report, chosen, ordered and compared, before anything is drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rnnstudy.report.analysis.paired import Comparison
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.select import Group
from rnnstudy.report.sentences.verdict import verdicts
from rnnstudy.report.tables.by_pair import comparison_columns
from rnnstudy.report.tables.by_run import columns
from rnnstudy.report.tables.columns import Column
from rnnstudy.runs.collection import MAX_HELD

MAX_DRAWN = MAX_HELD
"""Runs that the figures show; their whole logs are read."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The contents of a report.

    Args:
        title: Title of the page.
        folder: Folder that receives the report; links to run folders are relative to it.
        groups: Sections of the table.
        comparisons: Comparisons of the runs with their baselines.
        baseline: Condition on baselines in words, e.g. "mitigation=[]"; empty if nothing is compared.
        drawn: Runs that the figures show, with their logs, at most MAX_DRAWN.
        notes: Lines on what limits the comparison.
    """

    title: str
    folder: Path
    groups: tuple[Group, ...]
    comparisons: tuple[Comparison, ...]
    baseline: str
    drawn: tuple[Summary, ...]
    notes: tuple[str, ...]

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """All rows, group by group."""
        return tuple(summary for group in self.groups for summary in group.summaries)

    @cached_property
    def verdicts(self) -> list[str]:
        """The few sentences of the verdict."""
        return verdicts(self.summaries, self.comparisons, self.baseline)

    @cached_property
    def table(self) -> list[Column]:
        """Table of runs for people, one row per run, one group after the other."""
        return columns(self.summaries)

    @cached_property
    def paired(self) -> list[Column]:
        """Table of comparisons for people; empty without any."""
        return comparison_columns(self.comparisons)

    def parts(self, table: Sequence[Column], most: int | None = None) -> Iterator[tuple[Group, list[Column]]]:
        """Yield the groups with their rows of the table of runs, at most `most` rows in all; skip empty groups."""
        start, left = 0, len(self.summaries) if most is None else most
        for group in self.groups:
            rows = min(len(group.summaries), left)
            if rows:
                yield group, [column.rows(start, start + rows) for column in table]
            start, left = start + len(group.summaries), left - rows
