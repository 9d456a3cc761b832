"""Configurations over several tasks or lags as a table for people, one row each."""

from collections.abc import Sequence

from rnnstudy.report.analysis.intervals import Estimate
from rnnstudy.report.analysis.profiles import Aggregate
from rnnstudy.report.tables.columns import DASH, NAN, Cell, Column, Rule, show_number


def level_columns(aggregates: Sequence[Aggregate]) -> list[Column]:
    """Return the figures of each configuration over all tasks or lags; none without any."""
    rules = [
        Rule[Aggregate]("configuration", "what the runs share, apart from the task", lambda each: (each.level, "")),
        Rule[Aggregate]("tasks", "tasks or lags, each of which counts equally", lambda each: (str(each.strata), "")),
        Rule[Aggregate]("n", "networks in all of them", lambda each: (str(each.networks), "")),
        Rule[Aggregate](
            "solved",
            "fraction that solved the task, mean of the tasks; Wilson's intervals combined (Zou & Donner 2008), 95 %",
            lambda each: _cell(each.solved),
        ),
        Rule[Aggregate]("diverged", "fraction that diverged, likewise", lambda each: _cell(each.diverged)),
        Rule[Aggregate](
            "loss IQM",
            "interquartile mean of the final loss over the best guess without memory; interval by stratified bootstrap",
            lambda each: _cell(each.loss),
        ),
    ]
    return [rule.fill(aggregates) for rule in rules] if aggregates else []


def _cell(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return (DASH, "")
    value, low, high = (show_number(end) for end in estimate.ends)
    return (value, "" if NAN in {low, high} else f"{'≈ ' if estimate.rough else ''}[{low}, {high}]")
