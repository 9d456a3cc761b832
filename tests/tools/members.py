"""Finds the members of every group by their yaml files, and small runs to try them in."""

from pathlib import Path
from typing import Any, cast

import hydra
from omegaconf import OmegaConf
from rich.console import Console

from rnnstudy.config.folder import conf_folder
from rnnstudy.config.schema import Plan, plan_run
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


def members(group: str) -> list[str]:
    """The members of a group: its yaml files."""
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml") if path.stem != "default")


def compose(*overrides: str) -> dict[str, Any]:
    """A resolved configuration, with `choices` as the command line adds them."""
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = hydra.compose("config", list(overrides), return_hydra_config=True)
    if OmegaConf.is_missing(config.task, "path"):
        config.task.path = str(SAMPLE_TEXT)
    choices = config.hydra.runtime.choices
    del config.hydra
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    names = {group: choices[group] for group in SINGLE}
    inits = plain["model"]["init"]
    lists = {"init": list(inits) if isinstance(inits, dict) else [], "mitigation": list(plain["mitigation"])}
    return {"choices": {**names, **lists}, **plain}


def plan(*overrides: str) -> Plan:
    """The settings of a small run, built."""
    return plan_run(compose(*SMALL, *overrides))


def run_small(folder: Path, *overrides: str) -> RunFolder:
    """Train a small run in this process, without any output on the screen."""
    config = compose(*SMALL, f"run_dir='{folder}'", *overrides)
    return do_run(plan_job(Job(config=config, overrides=[], label="test")), Screen(Console(quiet=True)))
