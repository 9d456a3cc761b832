"""Finds the members of every group by their yaml files, and small runs to try them in."""

import copy
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from rnnstudy.config.folder import conf_folder
from rnnstudy.config.members import members
from rnnstudy.config.schema import Plan, plan_run
from rnnstudy.core.errors import ConfigError
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.groups import SINGLE
from rnnstudy.runs.job import Job
from rnnstudy.study.jobs.check import plan_job
from rnnstudy.study.run.run import do_run
from rnnstudy.study.screen.progress import Screen

SMALL = (
    "replicas=3",
    "model.hidden_size=6",
    "train.batch_size=4",
    "train.num_steps=12",
    "train.eval_interval=4",
    "train.log_interval=3",
    "train.eval_batch_size=16",
    "train.checkpoint_interval=5",
)
"""Overrides that make a run of the default configuration take well under a second."""

SAMPLE_TEXT = Path(__file__).parent / "sample.txt"
"""What stands in for the file that a task asks its user for."""


def compose(*overrides: str) -> dict[str, Any]:
    """A resolved configuration, with `choices` as the command line adds them."""
    values = [each for each in overrides if _sets_a_value(each)]
    choices = [each for each in overrides if each not in values]
    if any(each.startswith(("+", "~", "experiment=")) for each in choices):
        config, names = copy.deepcopy(_chosen(*choices))
        choices = []
    else:
        config, names = copy.deepcopy(_chosen())
    # A model may bring initialisations along, to which others are added.
    for each in sorted(choices, key=lambda each: each.startswith("init=")):
        group, (chosen, its_names) = each.partition("=")[0], _chosen(each)
        if group == "init":
            OmegaConf.update(config, "model.init", chosen.model.init, force_add=True)
        else:
            config[group] = chosen[group]
        names |= {name: its_names[name] for name in names if name == group}
    for each in values:
        OmegaConf.update(config, *_parsed(each))
    if OmegaConf.is_missing(config.task, "path"):
        config.task.path = str(SAMPLE_TEXT)
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    inits = plain["model"]["init"]
    lists = {"init": list(inits) if isinstance(inits, dict) else [], "mitigation": list(plain["mitigation"])}
    return {"choices": {**names, **lists}, **plain}


def _sets_a_value(override: str) -> bool:
    """Return whether an override sets a value in place, and chooses, adds and removes nothing."""
    return override[0] not in "+~" and not (conf_folder() / override.partition("=")[0]).is_dir()


@functools.cache
def _chosen(*overrides: str) -> tuple[DictConfig, dict[str, str]]:
    """Compose the configuration of some members, with their names: Hydra takes a tenth of a second for it."""
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = hydra.compose("config", list(overrides), return_hydra_config=True)
    names = {group: config.hydra.runtime.choices[group] for group in SINGLE}
    del config.hydra
    return config, names


@functools.cache
def _parsed(override: str) -> tuple[str, Any]:
    """Split an override into its key and its value."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    return parsed.key_or_group, parsed.value()


def plan(*overrides: str) -> Plan:
    """The settings of a small run, built."""
    return plan_run(compose(*SMALL, *overrides))


def run_small(folder: Path, *overrides: str, by_hand: Sequence[str] = ()) -> RunFolder:
    """Train a small run in this process, without any output on the screen; its name has the overrides `by_hand`."""
    config = compose(*SMALL, f"run_dir='{folder}'", *overrides, *by_hand)
    return do_run(plan_job(Job(config=config, overrides=[*by_hand], label="test")), Screen(Console(quiet=True)))


@functools.cache
def suited_model(group: str, name: str) -> str:
    """Find a model that a mitigation or an initialisation can be applied to, the LSTM if it can."""
    for model in ("lstm", *members("model")):
        try:
            plan(f"{group}=[{name}]", f"model={model}")
        except ConfigError:
            continue
        return model
    raise AssertionError(f"{group}={name} can be applied to no model.")


def named_models(refusal: str) -> set[str]:
    """Return the models that a refusal says something applies to."""
    told = refusal.partition("it applies to ")[2]
    named = set(re.findall(r"\w+", told)) & set(members("model"))
    return set(members("model")) - named if told.startswith("all models") else named
