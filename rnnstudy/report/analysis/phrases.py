"""Words for what is compared, and for counts of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import override

from rnnstudy.report.analysis.comparison import Comparison
from rnnstudy.report.analysis.naming import ABSENT
from rnnstudy.runs.labels import short_labels
from rnnstudy.runs.settings import NO_MITIGATION


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Difference between a run and its baseline, and what they share.

    Args:
        this: Difference of the run, e.g. "clip_norm".
        baseline: Difference of its baseline, e.g. "none".
        place: What they share, of all that differs in the sweep, e.g. "lstm, lag=60"; may be empty.
    """

    this: str
    baseline: str
    place: str

    @override
    def __str__(self) -> str:
        """Return, e.g., "clip_norm against none (lstm, lag=60)"."""
        place = f" ({self.place})" if self.place else ""
        return f"{self.this} against {self.baseline}{place}"


def contrast(comparison: Comparison) -> Contrast:
    """Return what distinguishes a run from its baseline."""
    this, baseline = comparison.summary, comparison.baseline
    unlike = [key for key, value in this.differing.items() if baseline.differing.get(key, ABSENT) != value]
    alike = [key for key, value in this.differing.items() if key not in (*unlike, "model") and value != NO_MITIGATION]
    model = [this.model] if this.model and "model" not in unlike else []
    return Contrast(
        this=_list(this.differing, unlike) or this.name,
        baseline=_list(baseline.differing, unlike) or baseline.name,
        place=", ".join(filter(None, [*model, _list(this.differing, alike)])),
    )


def of_all(count: int, total: int) -> str:
    """Return a part of all, to stand before a noun: "2 of 6", "the only", "both", "all 6"."""
    if count < total:
        return f"{count} of {total}"
    return {1: "the only", 2: "both"}.get(total, f"all {total}")


def plural(noun: str, count: int) -> str:
    """Return a noun for so many, e.g. "run" or "runs"."""
    return noun if count == 1 else f"{noun}s"


def of_replicas(count: int, total: int) -> str:
    """Return, e.g., "3 of 8 replicas"; a run of one replica has "the replica" or "no replica"."""
    return f"{count} of {total} replicas" if total > 1 else f"{'the' if count else 'no'} replica"


def some(names: Sequence[str], most: int, word: str = "and") -> str:
    """Return at most `most` of the names and count the rest: "a, b and 3 more", or "a or b or 3 more"."""
    joint = ", " if word == "and" else f" {word} "
    return joint.join(names[:most]) + (f" {word} {len(names) - most} more" if len(names) > most else "")


def _list(settings: Mapping[str, str], keys: list[str]) -> str:
    labels = short_labels(keys)
    present = [key for key in keys if settings.get(key, ABSENT) != ABSENT]
    # A member speaks for itself; a number needs its name.
    return ", ".join(
        f"{labels[key]}={settings[key]}" if "." in key or key == "seed" else settings[key] for key in present
    )
