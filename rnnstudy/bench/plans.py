"""Configurations that benchmarks measure."""

from pathlib import Path

from rnnstudy.bench.baselines import REPLICAS, SIZE
from rnnstudy.config.folder import conf_folder
from rnnstudy.config.schema import Plan
from rnnstudy.study.jobs.check import check
from rnnstudy.study.jobs.compose import first_job
from rnnstudy.tasks.coconut_water import CUE_STEP


def member_files(group: str) -> list[Path]:
    """List the yaml file of every member of a group, ordered by name."""
    return sorted((conf_folder() / group).glob("*.yaml"))


def planned(*overrides: str) -> Plan:
    """Plan the run that these command-line overrides describe."""
    return check(first_job(list(overrides)).config)


def measured_run(model: str) -> list[str]:
    """Return the overrides of the run whose parts are measured: the coconut-water review, at `SIZE`."""
    return [
        "task=coconut_water",
        f"task.lag={SIZE.seq_len - 1 - CUE_STEP}",
        f"model={model}",
        f"model.hidden_size={SIZE.hidden_size}",
        f"model.embedding_size={SIZE.input_size}",
        f"train.batch_size={SIZE.batch_size}",
        f"replicas={REPLICAS}",
    ]
