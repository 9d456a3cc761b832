"""The plain values of a configuration, which can be checked before torch is imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnnstudy.config.build import build_section
from rnnstudy.core.errors import ConfigError, require_at_least, suggest
from rnnstudy.runs.groups import SECTIONS
from rnnstudy.runs.plan import ComparisonPlan
from rnnstudy.training.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Plain values of a run.

    Args:
        seed: Replica r draws everything from `seed + r`; at least 0.
        replicas: Networks trained side by side, at least 1.
        device: cpu, cuda, cuda:N or auto.
        study: Folder name of the study.
        output_dir: Folder of the run folders.
        run_dir: Folder of this run; null names it by its configuration.
        one_at_a_time: Whether a sweep leaves out the runs that differ from its first in more than one value.
        retry_failed: Whether runs that failed before are tried again.
    """

    seed: int
    replicas: int
    device: str
    study: str
    output_dir: str
    run_dir: str | None
    one_at_a_time: bool
    retry_failed: bool = True

    def __post_init__(self) -> None:
        require_at_least("seed", self.seed, 0)
        require_at_least("replicas", self.replicas, 1)
        if self.study in {"", ".", ".."} or "/" in self.study or "\\" in self.study:
            raise ConfigError(f"study must be a plain folder name, such as lags, got '{self.study}'.")
        if self.run_dir is not None and not self.run_dir.strip():
            raise ConfigError("run_dir must name a folder, or be null to have one named by the configuration, got ''.")


@dataclass(frozen=True, kw_only=True)
class PlainSettings:
    """Values of a configuration that no task, model or other member takes.

    Args:
        run: Values of the run.
        train: Values of training.
        compare: Plan of the study.
    """

    run: RunSettings
    train: TrainSettings
    compare: ComparisonPlan


def check_plain(config: Mapping[str, Any]) -> PlainSettings:
    """Return the plain values of a configuration; raise ConfigError for the first fault in them or in its keys."""
    settings = tuple(RunSettings.__dataclass_fields__)
    known = (*SECTIONS, "compare", *settings)
    for key in config:
        if key not in {*known, "choices"}:
            raise ConfigError(f"{key} is not a known key. {suggest(key, known)}")
    for key in SECTIONS:
        if key not in config:
            raise ConfigError(f"{key} is missing.")
    try:
        run = build_section(RunSettings, {key: config[key] for key in settings if key in config}, path="")
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix(".")) from None
    return PlainSettings(
        run=run,
        train=build_section(TrainSettings, config["train"], path="train"),
        # The configurations of older versions have none.
        compare=build_section(ComparisonPlan, config.get("compare", {}), path="compare"),
    )
