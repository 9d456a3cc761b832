"""From a command line to finished runs: one run or a sweep of them, nothing done twice and nothing lost."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from rnnstudy.config.plain import check_plain
from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.report.naming import IN_SHORT, short_labels
from rnnstudy.study.compose import Telling, compose_jobs, composing, inform, wants_information
from rnnstudy.study.job import Job

_FEW = 20
"""Runs that are prepared before anybody wonders."""


class UnfinishedError(RnnstudyError):
    """Not every run of a sweep is finished.

    Args:
        message: Which are not, and why.
        folders: Hold the runs.
    """

    def __init__(self, message: str, folders: list[Path]) -> None:
        """Keep the folders."""
        super().__init__(message)
        self.folders = folders


def train(arguments: Sequence[str], console: Console) -> list[Path]:
    """Do what a command line asks for, once all of it has been checked.

    Args:
        arguments: Hydra's: overrides and flags.
        console: Where progress is shown.

    Returns:
        The folders that hold the run folders.

    Raises:
        ConfigError: Something about the configuration of any of the runs is wrong; none was started.
        UnfinishedError: Runs of a sweep failed, or other processes do them; all others are finished.
        Interrupted: The user stopped; checkpoints are saved.
        RnnstudyError: The run failed.
    """
    if wants_information(arguments):
        inform(arguments)
        return []
    with ExitStack() as stack:
        with _counting(console) as tell:
            composition = stack.enter_context(composing(arguments, tell))
        jobs = [job for job in composition.jobs if _is_wanted(job, composition.jobs[0])]
        _check_plain(jobs, is_sweep=composition.is_sweep)
        _require_folders_apart(jobs)
        # From here on torch is needed, which takes longer to import than all that may be wrong until here; and then
        # all that trains and measures.
        from rnnstudy.study.checked import check_all

        with _counting(console) as tell:
            on_a_cluster = composition.launcher == "submitit_slurm"
            checked = check_all(jobs, is_sweep=composition.is_sweep, elsewhere=on_a_cluster, tell=tell)

        from rnnstudy.study.execution import execute

        return execute(composition, checked, f"rnnstudy train {shlex.join(arguments)}", console)


@contextmanager
def _counting(console: Console) -> Iterator[Telling]:
    """Show, at a terminal, how many runs of a long sweep are prepared, until the end of the block.

    Yields:
        To be told.
    """
    with ExitStack() as shown:
        status = console.status("")

        def tell(done: int, count: int) -> None:
            if done == _FEW:
                shown.enter_context(status)
            if done >= _FEW:
                status.update(f"preparing the runs: {done} of {count}")

        yield tell


def first_job(arguments: Sequence[str]) -> Job:
    """The run that overrides ask for, not checked; of a sweep the first.

    Args:
        arguments: Overrides, such as "task=adding".

    Returns:
        The job.

    Raises:
        ConfigError: Something about the configuration is wrong.
    """
    for argument in arguments:
        if argument.startswith("-"):
            raise ConfigError(f"{argument} is not known here: there is one run, and overrides.")
    return compose_jobs(arguments)[0]


def _is_wanted(job: Job, first: Job) -> bool:
    """Whether a job of a sweep is to be done: of a sweep with one_at_a_time those near enough to its first job."""
    return job.config["one_at_a_time"] is not True or len(set(job.overrides) - set(first.overrides)) <= 1


def _check_plain(jobs: Sequence[Job], *, is_sweep: bool) -> None:
    """Check what can be checked at once.

    Raises:
        ConfigError: What is wrong, and in a sweep with which job.
    """
    for job in jobs:
        with naming_the_run(job, is_sweep=is_sweep):
            check_plain({key: value for key, value in job.config.items() if key != "choices"})


@contextmanager
def naming_the_run(job: Job, *, is_sweep: bool) -> Iterator[None]:
    """Have what is wrong with a job of a sweep name the job.

    Raises:
        ConfigError: What is wrong.
    """
    try:
        yield
    except ConfigError as error:
        if not is_sweep:
            raise
        raise ConfigError(f"{error} (in the run {' '.join(job.overrides)})") from None


def _require_folders_apart(jobs: Sequence[Job]) -> None:
    """Refuse a sweep that would put different runs into one folder.

    Raises:
        ConfigError: `run_dir` is set, and there are several configurations.
    """
    asked = Counter(job.config["run_dir"] for job in jobs if job.config["run_dir"] is not None)
    for run_dir, count in asked.items():
        if count > 1:
            raise ConfigError(
                f"run_dir={run_dir} is one folder, but the sweep has {count} runs for it; leave run_dir out, and each "
                "run has a folder named by its configuration."
            )


def labelled(jobs: Sequence[Job]) -> list[Job]:
    """Number the jobs of a sweep, and have their labels tell what they do not share with all others.

    Returns:
        The jobs; a single one as it is.
    """
    if len(jobs) == 1:
        return list(jobs)
    shared = set(jobs[0].overrides).intersection(*(other.overrides for other in jobs))
    owns = [[override.partition("=") for override in job.overrides if override not in shared] for job in jobs]
    short = short_labels(list(dict.fromkeys(key for own in owns for key, _, _ in own)))
    named = []
    for place, (job, own) in enumerate(zip(jobs, owns, strict=True), 1):
        values = [f"{short[key]}={value}" for key, _, value in own if key not in IN_SHORT]
        named.append(replace(job, label=", ".join([f"[{place}/{len(jobs)}] {job.label}", *values])))
    return named
