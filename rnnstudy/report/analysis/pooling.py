"""Runs that differ in the seed alone, put together: one configuration, each of its networks once.

Replica r of any run with seed s is the network s + r, so networks of one configuration may be put together, and those
that were trained twice are the same.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rnnstudy.runs.digest import PerReplica
from rnnstudy.runs.events import Event
from rnnstudy.runs.identity import changes_figures
from rnnstudy.runs.logs import Track
from rnnstudy.runs.run import Run

_SEEDS = ("seed", "replicas")
_NAMED = 2  # runs in a line


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Runs of one configuration and code.

    Args:
        runs: The runs, by seed; one that has not ended is alone.
        taken: The networks, each once, by seed: index of the run, index of the replica.
    """

    runs: tuple[Run, ...]
    taken: tuple[tuple[int, int], ...]

    @property
    def first(self) -> Run:
        """The run that stands for all."""
        return self.runs[0]

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seed of each network, ascending."""
        return tuple(self.runs[run].seed + replica for run, replica in self.taken)

    def join(self, values_of: Callable[[Run], Sequence[float | None]]) -> PerReplica:
        """Return the values of the networks, from those of the replicas of each run."""
        return self.pick([values_of(run) for run in self.runs])

    def pick(self, values: Sequence[Sequence]) -> tuple:
        """Return what belongs to the networks, from lists with an entry per replica, one list per run."""
        return tuple(values[run][replica] for run, replica in self.taken)

    def track(self, tracks: Sequence[Track | None]) -> Track | None:
        """Return a track of the networks, from one of each run; None where no run has it."""
        found = [track for track in tracks if track is not None]
        if len(self.runs) == 1 or not found:
            return tracks[0]
        steps = np.unique(np.concatenate([track.steps for track in found]))
        values = np.full((len(steps), len(self.taken), *found[0].values.shape[2:]), np.nan)
        logged = np.zeros((len(steps), len(self.taken)), dtype=bool)
        for column, (run, replica) in enumerate(self.taken):
            if (track := tracks[run]) is not None:
                rows = np.searchsorted(steps, track.steps)
                values[rows, column], logged[rows, column] = track.values[:, replica], track.logged[:, replica]
        return Track(steps=steps, values=values, logged=logged)

    def events(self) -> tuple[Event, ...]:
        """Return the events of the networks, numbered as they are."""
        places = {place: number for number, place in enumerate(self.taken)}
        return tuple(
            replace(event, replica=places[number, event.replica])
            for number, run in enumerate(self.runs)
            for event in run.events.events
            if (number, event.replica) in places
        )

    @property
    def repeated(self) -> int:
        """Networks that were trained more than once."""
        return sum(run.replicas for run in self.runs) - len(self.taken)


def pool_runs(runs: Iterable[Run]) -> list[Pool]:
    """Return the runs by configuration, in the order of the first of each.

    Runs are put together that ended, were computed by the same versions and commits, and differ in nothing but the seed
    and the number of replicas (and names, places and threads).
    """
    alike: defaultdict[object, list[Run]] = defaultdict(list)
    for run in runs:
        alike[(_configuration(run), run.code, run.device) if run.result is not None else run.path].append(run)
    return [_pool(sorted(members, key=lambda run: run.seed)) for members in alike.values()]


def kept_apart(pools: Sequence[Pool]) -> list[str]:
    """Return a line for each configuration whose runs are not one row though they differ in the seed alone."""
    alike: defaultdict[object, list[Run]] = defaultdict(list)
    for pool in pools:
        alike[_configuration(pool.first)].append(pool.first)
    lines: list[str] = []
    for runs in alike.values():
        if len(runs) > 1:
            codes, devices = {run.code for run in runs}, {run.device for run in runs}
            why = "one has not ended" if any(run.result is None for run in runs) else "computed by different code"
            why = f"on different devices ({', '.join(sorted(devices))})" if len(codes) == 1 < len(devices) else why
            names = " and ".join(run.label for run in runs[:_NAMED]) + (" and others" if len(runs) > _NAMED else "")
            lines.append(f"Not put together, though equal but for the seed: {names} ({why}).")
    return lines


def _configuration(run: Run) -> object:
    settings = sorted(
        f"{key}={value}" for key, value in run.settings.items() if key not in _SEEDS and changes_figures(key)
    )
    same = "\n".join([*settings, *run.choices.values()])
    return hashlib.sha256(same.encode(errors="surrogateescape")).digest(), run.facts


def _pool(runs: list[Run]) -> Pool:
    """Return the pool of runs in the order of their first seeds, so that what a later one adds comes last."""
    taken: dict[int, tuple[int, int]] = {}
    for number, run in enumerate(runs):
        for replica, seed in enumerate(run.seeds):
            taken.setdefault(seed, (number, replica))
    return Pool(runs=tuple(runs), taken=tuple(taken.values()))
