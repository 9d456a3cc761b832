"""What differs between runs, and names that say it."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rnnstudy.runs.groups import IN_SHORT
from rnnstudy.runs.labels import short_labels
from rnnstudy.runs.run import Run
from rnnstudy.runs.settings import NO_MITIGATION

ABSENT = "\N{EN DASH}"
"""Shown where a run has no such setting."""


# Where and how fast a run was done, what was measured, and what has a column of its own: no part of the experiment.
_IGNORED = frozenset(
    {
        "instrument",
        "_target_",
        "choices",
        "hydra",
        "study",
        "output_dir",
        "run_dir",
        "one_at_a_time",
        "threads",
        "checkpoint_interval",
        "kept_checkpoints",
        "replicas",
    }
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run, named among its peers.

    Args:
        run: The run.
        name: Unique in the sweep, e.g. "lstm + clip_norm, lag=50".
        short: Model and mitigations alone, e.g. "lstm + clip_norm", and its
            initialisations where they differ, e.g. "lstm (chrono)".
        model: Chosen member; empty if the config does not say.
        mitigation: Chosen members joined by " + ", or "none".
        settings: What differs between the runs of the sweep: dotted path to shown value.
    """

    run: Run
    name: str
    short: str
    model: str
    mitigation: str
    settings: dict[str, str]


def name_runs(runs: Sequence[Run]) -> list[Entry]:
    """Name the runs by what differs between them.

    Returns:
        One entry per run, ordered by what differs: other settings, then model, then mitigation.
    """
    choices = _differing([run.choices for run in runs])
    paths = [path for path in differing_settings(runs) if not _follows(path, runs)]
    labels = short_labels(paths)
    entries: list[Entry] = []
    for run in runs:
        model = run.choices.get("model", "")
        mitigation = run.choices.get("mitigation", NO_MITIGATION)
        init = run.choices.get("init", NO_MITIGATION) if "init" in choices else NO_MITIGATION
        told = model if init == NO_MITIGATION else f"{model} ({init})"
        short = (told if mitigation == NO_MITIGATION else f"{told} + {mitigation}") if model else run.label
        others = [run.choices[key] for key in choices if key not in IN_SHORT and key in run.choices]
        others += [f"{labels[path]}={run.settings[path]}" for path in paths if path in run.settings]
        settings = {key: run.choices.get(key, ABSENT) for key in choices}
        settings |= {path: run.settings.get(path, ABSENT) for path in paths}
        name = ", ".join([short, *others])
        entries.append(Entry(run=run, name=name, short=short, model=model, mitigation=mitigation, settings=settings))
    return sorted(_unique(entries), key=_order)


def confounded(runs: Sequence[Run]) -> list[str]:
    """List settings that every run has and that change together with a chosen member.

    Such a setting gets no column, since it may only be the member's own default; but a comparison
    of the members is then one of that setting too.

    Returns:
        Dotted paths, e.g. "model.hidden_size".
    """
    return [
        path for path in differing_settings(runs) if _follows(path, runs) and all(path in run.settings for run in runs)
    ]


def differing_settings(runs: Sequence[Run]) -> list[str]:
    """List the settings that say something of the experiment and are not the same in all runs.

    Returns:
        Dotted paths.
    """
    return [path for path in _differing([run.settings for run in runs]) if _IGNORED.isdisjoint(path.split("."))]


def _differing(settings: Sequence[dict[str, str]]) -> list[str]:
    paths = dict.fromkeys(path for each in settings for path in each)
    return [path for path in paths if len({each.get(path) for each in settings}) > 1]


def _follows(path: str, runs: Sequence[Run]) -> bool:
    """Return whether the member chosen for the path's group settles its value in all runs."""
    # A model's initialisations come with the model or are chosen beside it.
    groups = ("model", "init") if path.startswith("model.init.") else (path.partition(".")[0],)
    values: defaultdict[tuple[str | None, ...], set[str | None]] = defaultdict(set)
    for run in runs:
        values[tuple(run.choices.get(group) for group in groups)].add(run.settings.get(path))
    return all(None not in chosen for chosen in values) and all(len(found) == 1 for found in values.values())


def _unique(entries: list[Entry]) -> list[Entry]:
    counts = Counter(entry.name for entry in entries)
    return [
        entry
        if counts[entry.name] == 1
        else replace(entry, name=f"{entry.name} [{entry.run.label}]", short=f"{entry.short} [{entry.run.label}]")
        for entry in entries
    ]


def natural(value: str) -> tuple[int, float, str]:
    """Return a sort key: an absent setting first, then numbers by size, then words."""
    if value == ABSENT:
        return (0, 0.0, "")
    try:
        return (1, float(value), "")
    except ValueError:
        return (2, 0.0, value)


def _order(entry: Entry) -> tuple[Any, ...]:
    others = [natural(value) for key, value in entry.settings.items() if key not in IN_SHORT]
    init = entry.settings.get("init", NO_MITIGATION)
    baseline_last = (entry.mitigation != NO_MITIGATION, init != NO_MITIGATION)
    return (entry.model, any(baseline_last), *baseline_last, init, entry.mitigation, others, entry.run.label)


EDITING = frozenset({"clip_adjoint", "h_detach", "truncated_bptt"})
"""Mitigations that change the gradient on its way back through time; what is recorded is the changed one."""


def is_edited(entry: Entry) -> bool:
    """Return whether a mitigation changes the gradients of a run on their way back, so that they are not the task's."""
    return not EDITING.isdisjoint(entry.mitigation.split(" + "))
