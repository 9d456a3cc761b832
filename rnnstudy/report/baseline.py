"""The baseline of each run."""

from collections.abc import Sequence

from rnnstudy.core.errors import ConfigError
from rnnstudy.report.analysis.naming import ABSENT
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.select import Condition
from rnnstudy.runs.labels import short_labels
from rnnstudy.runs.settings import NO_MITIGATION

_NAMED = 3  # runs of a kind that are named, before they are only counted

Pair = tuple[Summary, Summary]
"""A run and its baseline."""


def default_baseline(summaries: Sequence[Summary]) -> str:
    """Return "mitigation=[]" where mitigations differ and some run has none, else "init=[]" likewise.

    Of two runs that differ in one setting other than the task, it is the first one's value; else nothing.
    """
    for group in ("mitigation", "init"):
        values = {summary.differing.get(group, NO_MITIGATION) for summary in summaries}
        if len(values) > 1 and NO_MITIGATION in values:
            return f"{group}=[]"
    differing = [key for key in summaries[0].differing if key != "seed"]
    if len(summaries) == 2 and len(differing) == 1 and differing[0].partition(".")[0] != "task":
        return f"{differing[0]}={summaries[0].differing[differing[0]]}"
    return ""


def match_baselines(summaries: Sequence[Summary], conditions: Sequence[Condition]) -> tuple[list[Pair], list[str]]:
    """Return the pairs of a run and its baseline, and lines on the runs that have none.

    The baseline meets the conditions, and shares with the run all other settings that differ between runs, except for
    the seed and for settings below a group that a condition is about. Of several such runs it is the one with the most
    seeds of replicas in common.

    Raises:
        ConfigError: A condition is about the task, or no run meets all conditions.
    """
    for condition in conditions:
        if condition.key == "task" or condition.key.startswith("task."):
            text = condition.text
            raise ConfigError(f"--baseline {text}: runs are compared within one task; choose it by --where {text}.")
    told = ", ".join(condition.text for condition in conditions)
    pool: dict[tuple[tuple[str, str], ...], list[Summary]] = {}
    others: list[Summary] = []
    for summary in summaries:
        if all(condition.is_met_by(summary) for condition in conditions):
            pool.setdefault(_rest(summary, conditions), []).append(summary)
        else:
            others.append(summary)
    if not pool:
        raise ConfigError(f"No run meets --baseline {told} in all its parts.")
    pairs: list[Pair] = []
    without, several = list[str](), list[str]()
    for summary in others:
        rest = _rest(summary, conditions)
        found = _closest(summary, pool.get(rest, []))
        if len(found) == 1:
            pairs.append((summary, found[0]))
        elif found:
            several.append(f"{summary.name}, which may be {' or '.join(each.label for each in found)}")
        else:
            without.append(f"{summary.name}: no run has {', '.join(filter(None, (told, _show(rest))))}")
    notes = [f"No baseline for {each}." for each in _first(without)]
    notes += [f"More than one baseline for {each}." for each in _first(several)]
    return pairs, notes


def _rest(summary: Summary, conditions: Sequence[Condition]) -> tuple[tuple[str, str], ...]:
    """Return the differing settings that a run shares with its baseline."""
    return tuple(
        (key, value)
        for key, value in summary.differing.items()
        if key != "seed" and not any(condition.covers(key) for condition in conditions)
    )


def _closest(summary: Summary, candidates: Sequence[Summary]) -> list[Summary]:
    """Return the candidates with the most seeds in common; only one if they are the same run done again."""
    shared = [len(set(summary.seeds) & set(each.seeds)) for each in candidates]
    best = [each for each, count in zip(candidates, shared, strict=True) if count == max(shared)]
    prints = {each.fingerprint for each in best}
    if len(prints) > 1 or None in prints:
        return best
    # The same run done twice, say in two sweeps: the one that lies beside the run, or else the first.
    return sorted(best, key=lambda each: each.path.parent != summary.path.parent)[:1]


def _show(rest: Sequence[tuple[str, str]]) -> str:
    labels = short_labels([key for key, _ in rest])
    return ", ".join(f"{labels[key]}={value}" for key, value in rest if value != ABSENT)


def _first(lines: Sequence[str]) -> list[str]:
    if len(lines) <= _NAMED:
        return list(lines)
    return [*lines[: _NAMED - 1], f"{len(lines) - _NAMED + 1} more runs, such as {lines[_NAMED - 1]}"]
