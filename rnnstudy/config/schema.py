"""The checked configuration of a run: everything that is built from it before anything is computed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from rnnstudy.config.build import T, build, build_section, find_class
from rnnstudy.config.members import suited_models
from rnnstudy.config.optimizer import optimizer_factory
from rnnstudy.config.plain import PlainSettings, RunSettings, check_plain
from rnnstudy.core.errors import ConfigError, UnsuitedError
from rnnstudy.core.numerics import Numerics
from rnnstudy.inits.base import Initialisation
from rnnstudy.instruments.base import Instrument
from rnnstudy.mitigations.base import Mitigation
from rnnstudy.models.base import Model
from rnnstudy.schedules.base import LearningRateSchedule
from rnnstudy.tasks.base import Task
from rnnstudy.training.optimizer import ReplicaOptimizer
from rnnstudy.training.settings import EvalSettings, TrainSettings


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a configuration asks for, checked.

    Args:
        task: Task at the longest sequences of training.
        seq_lens: Least and most time steps of a training sequence.
        model: Model to build the network from.
        mitigations: Mitigations in the order in which they act.
        instruments: Instruments to measure with.
        make_optimizer: Makes the optimizer of a network.
        schedule: Schedule of the learning rate.
        train: Duration and intervals of training.
        eval: Further evaluations.
        numerics: Treatment of numbers.
        run: Plain values of the run.
    """

    task: Task
    seq_lens: tuple[int, int]
    model: Model
    mitigations: list[Mitigation]
    instruments: list[Instrument]
    make_optimizer: Callable[[nn.Module], ReplicaOptimizer]
    schedule: LearningRateSchedule
    train: TrainSettings
    eval: EvalSettings
    numerics: Numerics
    run: RunSettings


def plan_run(config: Mapping[str, Any], plain: PlainSettings | None = None) -> Plan:
    """Return everything that a resolved configuration asks for, checked and built; nothing is computed yet.

    The configuration may hold `choices`, the names of its members. `plain` is the result of `check_plain`, if known.

    Raises:
        ConfigError: The first fault, with its configuration path, the rule, the value and what is allowed.
    """
    plain = plain or check_plain(config)
    task, seq_lens = _build_task(config["task"])
    model = _build_model(config["model"])
    return Plan(
        task=task,
        seq_lens=seq_lens,
        model=model,
        mitigations=_build_mitigations(config["mitigation"], model),
        instruments=_build_members(config["instrument"], Instrument, "instrument"),
        make_optimizer=optimizer_factory(config["optimizer"], path="optimizer"),
        schedule=build(config["schedule"], LearningRateSchedule, path="schedule"),
        train=plain.train,
        eval=_build_eval(config["eval"], task),
        numerics=build_section(Numerics, config["numerics"], path="numerics"),
        run=plain.run,
    )


def _build_task(node: Any) -> tuple[Task, tuple[int, int]]:
    """Return the longest task, and the least and most time steps; a node gives one length, or those two."""
    name = find_class(node, Task, path="task").length_field
    lengths = node.get(name)
    if not isinstance(lengths, list):
        task = build(node, Task, path="task")
        return task, (task.facts.seq_len, task.facts.seq_len)
    whole = [length for length in lengths if isinstance(length, int) and not isinstance(length, bool)]
    if not len(lengths) == len(whole) == 2 or whole[0] > whole[1]:
        rule = "a number, or two, the least and then the most, such as [50,200]"
        raise ConfigError(f"task.{name} must be {rule}, got {lengths}.")
    shortest, longest = (build({**node, name: length}, Task, path="task") for length in whole)
    return longest, (shortest.facts.seq_len, longest.facts.seq_len)


def _build_eval(node: Any, task: Task) -> EvalSettings:
    """Return what to evaluate beside training; raise ConfigError for what the task cannot have."""
    settings = build_section(EvalSettings, node, path="eval")
    if settings.solved_batch_size is not None and task.held_out().facts.solved is None:
        rule = "must be null for a task without a criterion for being solved"
        raise ConfigError(f"eval.solved_batch_size {rule}, got {settings.solved_batch_size}.")
    for seq_len in settings.seq_lens:
        try:
            task.held_out().with_seq_len(seq_len)
        except ConfigError as error:
            now = task.facts.seq_len
            raise ConfigError(f"eval.seq_lens holds {seq_len} (time steps; in training {now}), but {error}") from None
    return settings


def _build_model(node: Any) -> Model:
    """Return the model with its initialisations; raise ConfigError if one of them does not suit it."""
    try:
        return build(node, Model, path="model")
    except UnsuitedError as error:
        init: Initialisation = error.init
        suited = suited_models(lambda model: init.require_suits(model.recurrence(), model.set_by_model))
        raise ConfigError(f"{str(error).removesuffix('.')}; it applies to {suited}.") from None


def _build_mitigations(nodes: Any, model: Model) -> list[Mitigation]:
    """Return the mitigations in the order given; raise ConfigError for one that does not suit the model."""
    mitigations = _build_members(nodes, Mitigation, "mitigation")
    for name, mitigation in zip(nodes, mitigations, strict=True):
        try:
            mitigation.require_suits(model)
        except ConfigError as error:
            why = f"{str(error).removesuffix('.')}; it applies to {suited_models(mitigation.require_suits)}."
            raise ConfigError(f"mitigation.{name} cannot be applied to this model: {why}") from None
    return mitigations


def _build_members(nodes: Any, base: type[T], path: str) -> list[T]:
    if not isinstance(nodes, Mapping):
        raise ConfigError(f"{path} must be a list of members, such as {path}=[a,b], got {nodes!r}.")
    return [build(node, base, path=f"{path}.{name}") for name, node in nodes.items()]
