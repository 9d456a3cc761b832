"""Comparisons from Python."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnstudy.api.read_runs import require_pandas
from rnnstudy.report.compare import Request, assemble, write_report
from rnnstudy.report.contents import Contents
from rnnstudy.report.tables.tidy import pair_rows, run_row
from rnnstudy.runs.plan import CORRECTIONS, ComparisonPlan

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Compared:
    """Runs compared replica by replica with their baselines, as `rnnstudy compare` does.

    Args:
        contents: Contents of the report.
    """

    contents: Contents

    @cached_property
    def table(self) -> "pandas.DataFrame":
        """One row per run: what differs between them, and medians and ranges over the replicas."""
        return require_pandas().DataFrame([run_row(summary) for summary in self.contents.summaries])

    @cached_property
    def comparisons(self) -> "pandas.DataFrame":
        """One row per run and measure: the difference from the baseline, its 95 % interval and the verdict."""
        return require_pandas().DataFrame(pair_rows(self.contents.comparisons, self.contents.correction))

    @property
    def verdicts(self) -> list[str]:
        """Sentences that state the verdicts, at most 9."""
        return self.contents.verdicts

    @property
    def notes(self) -> tuple[str, ...]:
        """Limits of the comparison, one line each."""
        return self.contents.notes

    def write(self, folder: str | os.PathLike[str] | None = None) -> Path:
        """Write the report with all tables and figures.

        Args:
            folder: Folder of the report; None puts it where `rnnstudy compare` does.

        Returns:
            Path of the page.

        Raises:
            RnnstudyError: The folder cannot be written to.
        """
        return write_report(self.contents if folder is None else replace(self.contents, folder=Path(folder)))

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{escape(line)}" for line in (*self.verdicts, *self.notes))
        return f"{self.table.to_html(index=False)}<ul>{said}</ul>"


def compare(
    *folders: str | os.PathLike[str],
    baseline: str | Sequence[str] = (),
    where: str | Sequence[str] = (),
    sort: str | Sequence[str] = (),
    group_by: str | Sequence[str] = (),
    measure: str | None = None,
    correct: str | None = None,
) -> Compared:
    """Compare runs, as `rnnstudy compare` does; nothing is written.

    >>> import rnnstudy as rs
    >>> folder = getfixture("tmp_path")
    >>> tiny = ("task=adding", "task.seq_len=5", "train.num_steps=3", "replicas=2")
    >>> runs = rs.train(*tiny, "mitigation=[],[clip_norm]", output_dir=folder, quiet=True)
    >>> compared = rs.compare(folder, baseline="mitigation=[]")
    >>> list(compared.table["run"])
    ['lstm', 'lstm + clip_norm']
    >>> sorted(set(compared.comparisons["baseline"]))
    ['lstm']

    Args:
        folders: Folders with runs at any depth, or runs.
        baseline: Conditions that baselines meet, such as "mitigation=[]".
        where: Conditions that all runs meet, such as "task.lag=100".
        sort: Columns or settings, the most important first; with ":desc" the largest first.
        group_by: Settings; each of their values gets a section of the report.
        measure: Primary measure, which decides, such as "solved" or "loss"; None for that of the runs' plan, or else
            the fraction solved where the task has a criterion, and the loss where it has none.
        correct: Correction of the p-values for all differences: "max-t", "holm" or "none"; None for that of the plan.

    Returns:
        Tables and verdicts, and a method that writes the report.

    Raises:
        RnnstudyError: Nothing is left to compare, or a condition is wrong.
    """
    given = {"where": where, "baseline": baseline, "sort": sort, "group_by": group_by}
    lists: dict[str, Any] = {key: (each,) if isinstance(each, str) else tuple(each) for key, each in given.items()}
    ComparisonPlan(measure=measure, correct=correct or CORRECTIONS[0])  # raises ConfigError
    directories = tuple(map(Path, folders))
    return Compared(assemble(Request(directories=directories, **lists, measure=measure, correct=correct)))
