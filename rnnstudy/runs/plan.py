"""Plan of a study: what `rnnstudy compare` tests, decided before there are results."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from rnnstudy.core.errors import ConfigError, suggest

MEASURES = ("solved", "steps_to_solve", "diverged", "loss", "largest_norm", "spikes", "horizon", "decay")
"""Measures of a run, one of which a study is decided by."""

CORRECTIONS = ("max-t", "holm", "none")
"""Corrections for many comparisons; the first is the default."""

_CONDITION = re.compile(r"\s*[\w.]+\s*=")


@dataclass(frozen=True, kw_only=True)
class ComparisonPlan:
    """Plan of a comparison: what is compared, with what, and how strictly. It changes no figure of a run.

    Args:
        measure: Primary measure, one of `MEASURES`; None for the solved fraction where the task has a criterion, else
            the loss.
        baseline: Condition that the baselines meet, such as "mitigation=[]"; None leaves the choice to `compare`.
        correct: Correction for many comparisons, one of `CORRECTIONS`.
    """

    measure: str | None = None
    baseline: str | None = None
    correct: str = CORRECTIONS[0]

    def __post_init__(self) -> None:
        if self.measure is not None and self.measure not in MEASURES:
            told = f"measure must be null or name a measure, got '{self.measure}'"
            raise ConfigError(f"{told}. {suggest(self.measure, MEASURES)}")
        if self.baseline is not None and _CONDITION.match(self.baseline) is None:
            rule = "must be null or a condition KEY=VALUE, such as mitigation=[]"
            raise ConfigError(f"baseline {rule}, got '{self.baseline}'.")
        if self.correct not in CORRECTIONS:
            told = f"correct must name a correction, got '{self.correct}'"
            raise ConfigError(f"{told}. {suggest(self.correct, CORRECTIONS)}")


def read_plan(config: Mapping[str, Any]) -> ComparisonPlan:
    """Return the plan stored in a run's configuration; what it lacks, as those of older versions do, has its default.

    Raises:
        ConfigError: A stored value is not allowed.
    """
    stored = config.get("compare")
    stored = stored if isinstance(stored, Mapping) else {}
    texts = {field.name: stored.get(field.name) for field in fields(ComparisonPlan)}
    try:
        return ComparisonPlan(**{name: text for name, text in texts.items() if isinstance(text, str)})
    except ConfigError as error:
        raise ConfigError(f"compare.{error}") from None
