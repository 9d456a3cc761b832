"""Networks that otherwise identical runs of a sweep have in common."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from rnnstudy.runs.identity import whole_essence
from rnnstudy.runs.job import Config

_NAMED = 2
"""Most pairs of runs that are named, before they are only counted."""

_SUGGESTED = 4
"""Most seeds that are suggested."""

_Run = tuple[int, int]
"""Seed and number of replicas."""


def shared_networks(configs: Sequence[Config]) -> str | None:
    """Return a sentence on networks that otherwise identical runs share, and on how to space the seeds; None if none.

    Replica r of a run with seed s is the network s + r.
    """
    alike: defaultdict[str, set[_Run]] = defaultdict(set)
    for config in configs:
        rest = {key: value for key, value in config.items() if key not in {"seed", "replicas"}}
        alike[whole_essence(rest)].add((config["seed"], config["replicas"]))
    # Sorted by their seeds, runs that share a network with any later one share one with the next.
    pairs = dict.fromkeys(pair for runs in alike.values() for pair in pairwise(sorted(runs)) if _shared(*pair))
    if not pairs:
        return None
    told = [_tell(one, other) for one, other in list(pairs)[:_NAMED]]
    if more := len(pairs) - len(told):
        told.append(f"so do {more} more pairs of runs" if more > 1 else "so does 1 more pair of runs")
    members = {run for pair in pairs for run in pair}
    space = max(replicas for _, replicas in members)
    first, count = min(members)[0], min(len({seed for seed, _ in members}), _SUGGESTED)
    seeds = ",".join(str(first + place * space) for place in range(max(2, count)))
    advice = f"space the seeds by at least {space}, such as seed={seeds}"
    return f"{'; '.join(told)}, since replica r uses seed + r: {advice}."


def _shared(one: _Run, other: _Run) -> int:
    """Return how many networks two runs share; `other` has the same seed or a greater one."""
    return max(0, min(sum(one), sum(other)) - other[0])


def _tell(one: _Run, other: _Run) -> str:
    if one[1] == other[1]:
        return f"seed={one[0]} and seed={other[0]} share {_shared(one, other)} of their {one[1]} networks"
    names = (f"seed={seed} replicas={replicas}" for seed, replicas in (one, other))
    return f"{' and '.join(names)} share {_shared(one, other)} networks"
