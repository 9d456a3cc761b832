"""Sentences on the replicas that diverged, and on what changed that."""

from collections.abc import Sequence

from rnnstudy.report.analysis.comparison import BETTER, WORSE, Comparison
from rnnstudy.report.analysis.phrases import contrast, of_replicas
from rnnstudy.report.analysis.summary import Summary, known
from rnnstudy.runs.settings import NO_MITIGATION

_MAX_NAMED = 3  # runs or settings that a sentence still names

UNTOLD = "not shown to be more than chance"
"""Caveat of a difference that no test decides."""

_Group = dict[str, list[Comparison]]  # comparisons by what the run has and its baseline has not


def changed_divergence(comparisons: Sequence[Comparison]) -> list[str]:
    """Return at most one sentence: how many replicas diverged in the baselines, and in the runs compared with them.

    Only runs that ended count, and only where the replicas that diverged differ between a run and its baseline.
    Comparisons of the same two settings are added up. A caveat says so where no test decides.
    """
    groups: dict[str, _Group] = {}
    for each in comparisons:
        if each.is_paired and each.summary.is_finished and each.baseline.is_finished:
            groups.setdefault(_baseline(each), {}).setdefault(contrast(each).this, []).append(each)
    name, group = max(groups.items(), key=lambda each: _changes(each[1]), default=("", {}))
    if not _changes(group):
        return []
    baselines = {each.baseline.path: each.baseline for pairs in group.values() for each in pairs}
    outcomes: dict[str, list[str]] = {}
    for this, pairs in group.items():
        outcomes.setdefault(_outcome([each.summary for each in pairs], again=True), []).append(this)
    if len(outcomes) > _MAX_NAMED:
        outcomes = {_outcome([each.summary for pairs in group.values() for each in pairs], again=True): list(group)}
    parts = [f"with {_settings(names)} {outcome}" for outcome, names in outcomes.items()]
    decided = any(decides_divergence(each) for pairs in group.values() for each in pairs)
    caveat = "" if decided else f" ({UNTOLD})"
    return [f"{name} {_outcome(list(baselines.values()))}; {', '.join(parts)}{caveat}."]


def decides_divergence(comparison: Comparison) -> bool:
    """Return whether a test decides between the fractions that diverged."""
    effect = comparison.effect("diverged")
    return effect is not None and effect.verdict in {BETTER, WORSE}


def divergence(summaries: Sequence[Summary]) -> list[str]:
    """Return a sentence on the runs that have replicas that diverged; none where all is well."""
    found = [summary for summary in summaries if summary.diverged]
    if not found:
        return []
    if len(found) <= _MAX_NAMED:
        parts = [f"{of_replicas(each.diverged, each.replicas)} of {each.name}" for each in found]
        # Names have commas of their own.
        return [f"{parts[0]} diverged{when(found)}." if len(parts) == 1 else f"Diverged: {'; '.join(parts)}."]
    lost, replicas = sum(each.diverged for each in found), sum(each.replicas for each in found)
    every = sum(each.diverged == each.replicas for each in found)
    all_of = f", in {every} of them every one" if every else ""
    return [f"In {len(found)} of {len(summaries)} runs replicas diverged, {lost} of their {replicas}{all_of}."]


def when(summaries: Sequence[Summary]) -> str:
    """Return, e.g., ", the first at step 3"; empty where the step is unknown."""
    steps = [step for summary in summaries for step in known(summary.diverged_at)]
    if not steps:
        return ""
    return f", {'the first ' if sum(each.diverged for each in summaries) > 1 else ''}at step {min(steps):.0f}"


def _settings(names: Sequence[str]) -> str:
    return " and with ".join(names) if len(names) <= _MAX_NAMED else f"{len(names)} other settings"


def _baseline(comparison: Comparison) -> str:
    told = contrast(comparison)
    if told.baseline != NO_MITIGATION:
        return f"With {told.baseline}"
    return f"Without {told.this if comparison.summary.mitigation == comparison.baseline.mitigation else 'a mitigation'}"


def _changes(group: _Group) -> int:
    """Return the number of replicas that diverged in a run and not in its baseline, or the other way round."""
    return sum(len(_lost(each.summary) ^ _lost(each.baseline)) for pairs in group.values() for each in pairs)


def _lost(summary: Summary) -> set[int]:
    return {seed for seed, status in zip(summary.seeds, summary.status, strict=True) if status == "diverged"}


def _outcome(runs: Sequence[Summary], *, again: bool = False) -> str:
    """Return, e.g., "8 of 8 replicas diverged, the first at step 3"; `again`, as in "8 of 8 did" or "none did"."""
    lost, replicas = sum(each.diverged for each in runs), sum(each.replicas for each in runs)
    if again:
        return f"{f'{lost} of {replicas}' if lost else 'none'} did{when(runs)}"
    return f"{of_replicas(lost, replicas) if lost else 'no replica'} diverged{when(runs)}"
