"""The configuration of a run, checked: what is built from it before anything is computed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from rnnstudy.config.build import build, build_section, optimizer_factory
from rnnstudy.core.errors import ConfigError, require_at_least, suggest
from rnnstudy.core.numerics import Numerics
from rnnstudy.instruments.base import Instrument
from rnnstudy.mitigations.base import Mitigation
from rnnstudy.models.base import Model
from rnnstudy.tasks.base import Task
from rnnstudy.training.optimizer import ReplicaOptimizer
from rnnstudy.training.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """The plain values of a run.

    Args:
        seed: Replica r draws everything from `seed + r`; at least 0.
        replicas: Networks trained side by side, at least 1.
        device: cpu, cuda, cuda:N or auto.
        study: Folder name of the study.
        output_dir: Where run folders go.
        run_dir: Folder of this run; null names it by its configuration.
    """

    seed: int
    replicas: int
    device: str
    study: str
    output_dir: str
    run_dir: str | None

    def __post_init__(self) -> None:
        require_at_least("seed", self.seed, 0)
        require_at_least("replicas", self.replicas, 1)
        if self.study in {"", ".", ".."} or "/" in self.study or "\\" in self.study:
            raise ConfigError(f"study must be a plain folder name, such as lags, got '{self.study}'.")
        if self.run_dir is not None and not self.run_dir.strip():
            raise ConfigError("run_dir must name a folder, or be null to have one named by the configuration, got ''.")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a configuration asks for, checked."""

    task: Task
    model: Model
    mitigations: list[Mitigation]
    instruments: list[Instrument]
    make_optimizer: Callable[[nn.Module], ReplicaOptimizer]
    train: TrainSettings
    numerics: Numerics
    run: RunSettings


M = TypeVar("M")

_GROUPS = ("task", "model", "mitigation", "instrument", "optimizer", "train", "numerics")
_SETTINGS = tuple(RunSettings.__dataclass_fields__)


def plan_run(config: Mapping[str, Any]) -> Plan:
    """Check a resolved configuration and build all settings from it; nothing is computed yet.

    Returns:
        The settings.

    Raises:
        ConfigError: The first thing that is wrong: the configuration path, the rule, the value, what is allowed.
    """
    for key in config:
        if key not in _GROUPS + _SETTINGS:
            raise ConfigError(f"{key} is not a known key. {suggest(key, _GROUPS + _SETTINGS)}")
    for key in _GROUPS:
        if key not in config:
            raise ConfigError(f"{key} is missing.")
    try:
        run = build_section(RunSettings, {key: config[key] for key in _SETTINGS if key in config}, path="")
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix(".")) from None
    return Plan(
        task=build(config["task"], Task, path="task"),
        model=build(config["model"], Model, path="model"),
        mitigations=_build_members(config["mitigation"], Mitigation, "mitigation"),
        instruments=_build_members(config["instrument"], Instrument, "instrument"),
        make_optimizer=optimizer_factory(config["optimizer"], path="optimizer"),
        train=build_section(TrainSettings, config["train"], path="train"),
        numerics=build_section(Numerics, config["numerics"], path="numerics"),
        run=run,
    )


def _build_members(nodes: Any, base: type[M], path: str) -> list[M]:
    if not isinstance(nodes, Mapping):
        raise ConfigError(f"{path} must be a list of members, such as {path}=[a,b], got {nodes!r}.")
    return [build(node, base, path=f"{path}.{name}") for name, node in nodes.items()]
