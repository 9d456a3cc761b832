"""From a command line to finished runs: one run or a sweep, nothing done twice and nothing lost."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from rich.console import Console

from rnnstudy.config.plain import PlainSettings, check_plain
from rnnstudy.core.errors import ConfigError
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.job import Job
from rnnstudy.study.jobs.compose import Telling, composing, inform, wants_information
from rnnstudy.study.jobs.labels import naming_the_run
from rnnstudy.study.jobs.shared import shared_networks

_FEW = 20
"""Most runs that are prepared without a message."""


def train(arguments: Sequence[str], console: Console) -> list[RunFolder]:
    """Do what a command line asks for, once all of it has been checked; errors are those of `rnnstudy.train`.

    Returns:
        The run folders, in the order asked for; none where Hydra was asked about the configuration.
    """
    if wants_information(arguments):
        inform(arguments)
        return []
    with ExitStack() as stack:
        with _counting(console) as tell:
            composition = stack.enter_context(composing(arguments, tell))
        jobs = [job for job in composition.jobs if _is_wanted(job, composition.jobs[0])]
        plains = _plain_settings(jobs, is_sweep=composition.is_sweep)
        _require_folders_apart(jobs)
        # From here on torch is needed, which takes longer to import than all checks; then all that trains.
        from rnnstudy.study.jobs.check import plan_all

        with _counting(console) as tell:
            on_a_cluster = composition.launcher == "submitit_slurm"
            planned = plan_all(jobs, plains, is_sweep=composition.is_sweep, elsewhere=on_a_cluster, tell=tell)

        if told := shared_networks([run.job.config for run in planned]):
            console.print(told, highlight=False, markup=False, soft_wrap=True)
        from rnnstudy.study.sweep.execute import execute

        return execute(composition, planned, f"rnnstudy train {shlex.join(arguments)}", console)


@contextmanager
def _counting(console: Console) -> Iterator[Telling]:
    """Show, at a terminal, how many runs of a long sweep are prepared; yield the function to call with the numbers."""
    with ExitStack() as shown:
        status = console.status("")

        def tell(done: int, count: int) -> None:
            if done == _FEW:
                shown.enter_context(status)
            if done >= _FEW:
                status.update(f"preparing the runs: {done} of {count}")

        yield tell


def _is_wanted(job: Job, first: Job) -> bool:
    """Return whether to do a job: with one_at_a_time, a sweep's job must differ from the first in at most one value."""
    return job.config["one_at_a_time"] is not True or len(set(job.overrides) - set(first.overrides)) <= 1


def _plain_settings(jobs: Sequence[Job], *, is_sweep: bool) -> list[PlainSettings]:
    """Return the checked values that need no torch; raise a ConfigError, which in a sweep names the job."""
    plains = []
    for job in jobs:
        with naming_the_run(job, is_sweep=is_sweep):
            plains.append(check_plain(job.config))
    return plains


def _require_folders_apart(jobs: Sequence[Job]) -> None:
    """Raise ConfigError for a sweep that would put different runs into one `run_dir`."""
    asked = Counter(job.config["run_dir"] for job in jobs if job.config["run_dir"] is not None)
    for run_dir, count in asked.items():
        if count > 1:
            way_out = "leave run_dir out, and each run has a folder named by its configuration"
            raise ConfigError(f"run_dir={run_dir} is one folder, but the sweep has {count} runs for it; {way_out}.")
