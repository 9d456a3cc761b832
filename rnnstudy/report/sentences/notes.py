"""The caveats of a comparison, one line each."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from rnnstudy.report.analysis.gradient import FACTOR
from rnnstudy.report.analysis.naming import confounded
from rnnstudy.report.analysis.phrases import plural, some
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.analysis.tests import FEWEST_PAIRS
from rnnstudy.runs.collection import Sweep

UNUSABLE = "Not compared: "
"""Begins the notes on requested folders, all of which are shown."""

_LONG_KINDS = ("Not read", "Not ended", "Nothing logged", "No gradients", "Not drawn")
_LISTED = 5  # lines of a kind
_NAMED = 3  # runs in a line


def notes(sweep: Sweep, summaries: Sequence[Summary]) -> list[str]:
    """Return sentences on what limits the comparison: unread and unfinished runs, few replicas, mixed settings."""
    found = [f"{UNUSABLE}{line}" for line in sweep.unusable]
    found += [f"Not read: {line}" for line in sweep.unreadable]
    found += [f"Not ended: {s.name} ({s.label}): {s.state}" for s in summaries if not s.is_finished]
    for kind, file, without in (
        ("Nothing logged", "metrics.jsonl", [s.without_metrics for s in summaries]),
        ("No gradients", "curves.jsonl", [s.without_curves for s in summaries]),
    ):
        found += [f"{kind}: {label} has no {file}, or an empty one" for labels in without for label in labels]
    if few := sorted({s.replicas for s in summaries if s.replicas < FEWEST_PAIRS}):
        counts = f"{' or '.join(map(str, few))} replica{'s' if few != [1] else ''}"
        found.append(f"Runs with {counts}: below six pairs nothing is decided; take 8 or more.")
    found += _twice(summaries)
    found += first_of([_repeated(summary) for summary in summaries if summary.repeated])
    if spread := [s.name for s in summaries if not s.facts.has_answer_gradient and s.without_curves != s.labels]:
        found.append(
            f"No log ratio, horizon and decay for {some(spread, _NAMED)}: the loss is at many time steps there, so the "
            "gradient at each of them is also that of the outputs close to it."
        )
    tasks = {run.choices.get("task", "") for run in summaries}
    if len(tasks) > 1:
        found.append(f"The runs are of {len(tasks)} tasks, {', '.join(sorted(tasks))}: compare within one task only.")
    elif settings := [key for key in summaries[0].differing if key.startswith("task.")]:
        found.append(f"The runs differ in {', '.join(settings)}: compare within one task only.")
    factors = {run.settings[FACTOR] for run in summaries if FACTOR in run.settings}
    if len(factors) > 1:
        found.append(
            f"{FACTOR} is {', '.join(sorted(factors))}: horizons and verdicts of different factors do not compare."
        )
    if mixed := some(confounded([s.choices for s in summaries], [s.settings for s in summaries]), _NAMED):
        found.append(f"Changes along with the chosen members, and may matter as much as they do: {mixed}.")
    return found


def _repeated(summary: Summary) -> str:
    networks = f"{summary.repeated} {plural('network', summary.repeated)}"
    return f"{summary.name}: {networks} trained in more than one of its {len(summary.paths)} runs; each counts once"


def _twice(summaries: Sequence[Summary]) -> list[str]:
    """Return lines on runs of one configuration and seed that are not one row; each counts as a run."""
    same: defaultdict[str, list[str]] = defaultdict(list)
    for summary in summaries:
        if summary.fingerprint is not None:
            same[summary.fingerprint].append(summary.label)
    lines = [f"The same configuration and seed: {some(labels, _NAMED)}" for labels in same.values() if len(labels) > 1]
    return first_of(lines)


def shortened(found: Sequence[str], place: Path) -> list[str]:
    """Return notes for a terminal: of long kinds only the first ones, and a count of those that only the page has."""
    shown: list[str] = []
    counts = Counter(note.partition(":")[0] for note in found)
    seen: Counter[str] = Counter()
    for note in found:
        kind = note.partition(":")[0]
        seen[kind] += 1
        if kind not in _LONG_KINDS or seen[kind] <= _LISTED:
            shown.append(note)
        elif seen[kind] == _LISTED + 1:
            shown.append(f"{kind}: {counts[kind] - _LISTED} more, all in {place.name}")
    return shown


def first_of(lines: Sequence[str]) -> list[str]:
    """Return the first lines of a kind, the last of them with the number of those left out."""
    if len(lines) <= _LISTED:
        return list(lines)
    last, more = lines[_LISTED - 1], len(lines) - _LISTED
    end = "." if last.endswith(".") else ""
    return [*lines[: _LISTED - 1], f"{last.removesuffix('.')}; and {more} more like it{end}"]
