"""All that a report is about, chosen, ordered and compared, before anything is drawn."""

from dataclasses import dataclass
from pathlib import Path

from rnnstudy.report.analysis.paired import Comparison
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.runs.collection import MAX_HELD

MAX_DRAWN = MAX_HELD
"""Runs that the figures show; their whole logs are read."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that stand in one section of the table.

    Args:
        title: Value of the settings that they are grouped by, e.g. "lag=100"; empty where there is one group only.
        summaries: Rows, sorted.
    """

    title: str
    summaries: tuple[Summary, ...]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """All that a report is about.

    Args:
        title: Of the page.
        folder: Receives the report; links to run folders are relative to it.
        groups: Sections of the table.
        comparisons: Of the runs with their baselines.
        baseline: As people write it, e.g. "mitigation=[]"; empty if nothing is compared.
        drawn: Runs that the figures show, at most MAX_DRAWN.
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
