"""Names of runs, and the differences between runs that the names state."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rnnstudy.runs.groups import IN_SHORT
from rnnstudy.runs.labels import short_labels
from rnnstudy.runs.run import Run
from rnnstudy.runs.settings import NO_MITIGATION

Settings = Mapping[str, str]

ABSENT = "\N{EN DASH}"
"""Shown where a run lacks a setting."""

# Where and how fast a run was done, what was measured, and what has a column of its own: not part of the experiment.
_IGNORED = {
    *(
        "instrument",
        "_target_",
        "choices",
        "hydra",
        "study",
        "output_dir",
        "run_dir",
        "one_at_a_time",
        "retry_failed",
        "threads",
    ),
    *("checkpoint_interval", "kept_checkpoints", "replicas", "compare"),
}


@dataclass(frozen=True, kw_only=True)
class NamedRun:
    """A run, named among its peers.

    Args:
        run: The run.
        name: Unique in the sweep, e.g. "lstm + clip_norm, lag=50".
        short: Model and mitigations alone, and initialisations where they differ, e.g. "lstm (chrono) + clip_norm".
        model: Chosen member; empty if the config names none.
        mitigation: Chosen members joined by " + ", or "none".
        differing: Settings that differ between the runs of the sweep: dotted path to shown value.
    """

    run: Run
    name: str
    short: str
    model: str
    mitigation: str
    differing: dict[str, str]


def name_runs(runs: Sequence[Run], *, pooled: bool = False) -> list[NamedRun]:
    """Return the runs named by what differs between them, ordered by model, then mitigation, then other settings.

    Runs that stand for a pool have no one seed: it is in their names only where nothing else tells them apart.
    """
    chosen, settings = [run.choices for run in runs], [run.settings for run in runs]
    choices = _differing(chosen)
    paths = [path for path in differing_settings(settings) if not _follows(path, chosen, settings)]
    if pooled:
        paths = [path for path in paths if path != "seed"]
    labels = short_labels(paths)
    named: list[NamedRun] = []
    for run in runs:
        model = run.choices.get("model", "")
        mitigation = run.choices.get("mitigation", NO_MITIGATION)
        init = run.choices.get("init", NO_MITIGATION) if "init" in choices else NO_MITIGATION
        told = model if init == NO_MITIGATION else f"{model} ({init})"
        short = (told if mitigation == NO_MITIGATION else f"{told} + {mitigation}") if model else run.label
        others = [run.choices[key] for key in choices if key not in IN_SHORT and key in run.choices]
        others += [f"{labels[path]}={run.settings[path]}" for path in paths if path in run.settings]
        differing = {key: run.choices.get(key, ABSENT) for key in choices}
        differing |= {path: run.settings.get(path, ABSENT) for path in paths}
        name = ", ".join([short, *others])
        named.append(NamedRun(run=run, name=name, short=short, model=model, mitigation=mitigation, differing=differing))
    counts = Counter(each.name for each in named)
    seeds = {(each.name, each.run.seed) for each in named}
    told = Counter(name for name, _ in seeds)
    for place, each in enumerate(named):
        if counts[each.name] > 1:
            label = f", seed={each.run.seed}" if told[each.name] == counts[each.name] else f" [{each.run.label}]"
            named[place] = replace(each, name=each.name + label, short=each.short + label)
    return sorted(named, key=_order)


def confounded(choices: Sequence[Settings], settings: Sequence[Settings]) -> list[str]:
    """Return settings (dotted paths) that every run has and that change together with a chosen member.

    Such a setting gets no column, as it may be the member's own default; but comparing the members compares it too.
    """
    paths = [path for path in differing_settings(settings) if _follows(path, choices, settings)]
    return [path for path in paths if all(path in each for each in settings)]


def differing_settings(settings: Sequence[Settings]) -> list[str]:
    """Return the dotted paths of the experiment's settings that are not the same in all runs."""
    return [path for path in _differing(settings) if _IGNORED.isdisjoint(path.split("."))]


def _differing(settings: Sequence[Settings]) -> list[str]:
    paths = dict.fromkeys(path for each in settings for path in each)
    return [path for path in paths if len({each.get(path) for each in settings}) > 1]


def _follows(path: str, choices: Sequence[Settings], settings: Sequence[Settings]) -> bool:
    """Return whether the member chosen for the path's group determines its value in all runs."""
    # A model's initialisations come with the model or are chosen beside it.
    groups = ("model", "init") if path.startswith("model.init.") else (path.partition(".")[0],)
    values: defaultdict[tuple[str | None, ...], set[str | None]] = defaultdict(set)
    for chosen, own in zip(choices, settings, strict=True):
        values[tuple(chosen.get(group) for group in groups)].add(own.get(path))
    return all(None not in chosen for chosen in values) and all(len(found) == 1 for found in values.values())


NUMBER = 1
"""Begins the sort key of a number."""


def natural(value: str) -> tuple[int, float, str]:
    """Return a sort key: an absent setting first, then numbers by size, then words."""
    if value == ABSENT:
        return (NUMBER - 1, 0.0, "")
    try:
        return (NUMBER, float(value), "")
    except ValueError:
        return (NUMBER + 1, 0.0, value)


def _order(named: NamedRun) -> tuple[Any, ...]:
    others = [natural(value) for key, value in named.differing.items() if key not in IN_SHORT]
    init = named.differing.get("init", NO_MITIGATION)
    baseline_last = (named.mitigation != NO_MITIGATION, init != NO_MITIGATION)
    return (named.model, any(baseline_last), *baseline_last, init, named.mitigation, others, named.run.label)
