"""The contents of a report, chosen, ordered and compared, before anything is drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rnnstudy.report.analysis.comparison import Comparison
from rnnstudy.report.analysis.phrases import contrast
from rnnstudy.report.analysis.profiles import aggregates
from rnnstudy.report.analysis.summary import Summary, known
from rnnstudy.report.select import Group
from rnnstudy.report.sentences.verdict import verdicts
from rnnstudy.report.tables.by_level import level_columns
from rnnstudy.report.tables.by_pair import comparison_columns
from rnnstudy.report.tables.by_run import columns
from rnnstudy.report.tables.columns import Column, Table
from rnnstudy.runs.collection import MAX_HELD

MAX_DRAWN = MAX_HELD
"""Runs that the figures show; their whole logs are read."""


MAX_AGGREGATED = 1000
"""Runs up to which figures over all tasks or lags are computed: each takes a bootstrap."""

_MOST_SIDE_BY_SIDE = 4  # pairs, or runs where nothing is compared


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Runs in the columns of one figure.

    Args:
        heading: What they share; may be empty.
        runs: Each run with its title.
    """

    heading: str
    runs: tuple[tuple[str, Summary], ...]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The contents of a report.

    Args:
        title: Title of the page.
        folder: Folder that receives the report; links to run folders are relative to it.
        groups: Sections of the table.
        comparisons: Comparisons of the runs with their baselines.
        baseline: Condition on baselines in words, e.g. "mitigation=[]"; empty if nothing is compared.
        correction: Correction of the p-values, one of `CORRECTIONS`.
        planned: Whether a plan stored with the runs decided measure, baseline and correction.
        drawn: Runs that the figures show, with their logs, at most MAX_DRAWN.
        notes: Lines on what limits the comparison.
    """

    title: str
    folder: Path
    groups: tuple[Group, ...]
    comparisons: tuple[Comparison, ...]
    baseline: str
    correction: str
    planned: bool
    drawn: tuple[Summary, ...]
    notes: tuple[str, ...]

    @property
    def summaries(self) -> tuple[Summary, ...]:
        """All rows, group by group."""
        return tuple(summary for group in self.groups for summary in group.summaries)

    @cached_property
    def verdicts(self) -> list[str]:
        """The few sentences of the verdict."""
        return verdicts(self.summaries, self.comparisons, self.baseline, self.correction)

    @property
    def primary(self) -> tuple[str, ...]:
        """The primary measures of the comparisons, each once: one, or one for each kind of task."""
        return tuple(dict.fromkeys(each.primary for each in self.comparisons))

    @cached_property
    def opening(self) -> tuple[SideBySide, ...]:
        """Runs of the first figures: pairs of a baseline and a run, or, where nothing is compared, the first runs.

        Of many pairs they are those that differ most in the fraction that diverged, then in spikes per replica.
        """
        logged = {summary.path: summary for summary in self.drawn}
        pairs = [each for each in self.comparisons if {each.summary.path, each.baseline.path} <= logged.keys()]
        if not pairs:
            named = [(summary.name, summary) for summary in self.drawn[:_MOST_SIDE_BY_SIDE]]
            return tuple(SideBySide(heading="", runs=tuple(named[at : at + 2])) for at in range(0, len(named), 2))
        most = {each.summary.path for each in sorted(pairs, key=_explosions, reverse=True)[:_MOST_SIDE_BY_SIDE]}
        chosen = [(each, contrast(each)) for each in pairs if each.summary.path in most]
        return tuple(
            SideBySide(
                heading=told.place,
                runs=((told.baseline, logged[each.baseline.path]), (told.this, logged[each.summary.path])),
            )
            for each, told in chosen
        )

    @cached_property
    def table(self) -> Table:
        """Table of runs for people, one row per run, one group after the other."""
        return Table(noun="run", every=tuple(columns(self.summaries, self.comparisons)))

    @cached_property
    def paired(self) -> Table:
        """Table of comparisons for people; empty without any."""
        return Table(noun="comparison", every=tuple(comparison_columns(self.comparisons)))

    @cached_property
    def levels(self) -> Table:
        """Table of configurations over all tasks or lags; without rows where there is only one."""
        most = self.summaries if len(self.summaries) <= MAX_AGGREGATED else ()
        return Table(noun="configuration", every=tuple(level_columns(aggregates(most))))

    def parts(self, table: Sequence[Column], most: int | None = None) -> Iterator[tuple[Group, list[Column]]]:
        """Yield the groups with their rows of the table of runs, at most `most` rows in all; skip empty groups."""
        start, left = 0, len(self.summaries) if most is None else most
        for group in self.groups:
            rows = min(len(group.summaries), left)
            if rows:
                yield group, [column.rows(start, start + rows) for column in table]
            start, left = start + len(group.summaries), left - rows


def _explosions(pair: Comparison) -> tuple[float, float]:
    """Return how much the runs of a pair differ in the fraction that diverged, and in spikes per replica."""
    (lost, spikes), (its_lost, its_spikes) = (
        (each.diverged / each.replicas, sum(known(each.spikes)) / each.replicas)
        for each in (pair.summary, pair.baseline)
    )
    return abs(lost - its_lost), abs(spikes - its_spikes)
