"""The runs of a command line, checked and planned: every fault that can show before a run begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rnnstudy.config.plain import PlainSettings
from rnnstudy.config.schema import Plan, plan_run
from rnnstudy.core.errors import ConfigError
from rnnstudy.core.numerics import require_device_name, select_device
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.identity import are_same, find_run_folder, folders_by_fingerprint
from rnnstudy.runs.job import Config, Job
from rnnstudy.runs.usable import require_fit
from rnnstudy.study.jobs.labels import labelled, naming_the_run


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A run that can be done, planned once and carried to where it is done.

    Args:
        job: The run as it was asked for.
        plan: Everything built from its configuration.
        folder: Folder of the run; it need not exist yet.
    """

    job: Job
    plan: Plan
    folder: RunFolder

    def located_again(self) -> "PlannedRun":
        """Return the run with its present folder; raise ConfigError if it cannot be done there any more."""
        return replace(self, folder=_usable_folder(self.job, self.plan))


def check(config: Config, plain: PlainSettings | None = None, *, elsewhere: bool = False) -> Plan:
    """Return the plan of a configuration, after all checks that can precede training; raise ConfigError for a fault.

    With `elsewhere`, another machine does the run: it may have a GPU although this one has none.
    """
    plan = plan_run(config, plain)
    require_device_name(plan.run.device)
    if not elsewhere:
        select_device(plan.run.device)
    return plan


def plan_job(job: Job) -> PlannedRun:
    """Plan a single run for this process; raise ConfigError if it cannot be done."""
    plan = check(job.config)
    return PlannedRun(job=job, plan=plan, folder=_usable_folder(job, plan))


def plan_all(
    jobs: Sequence[Job],
    plains: Sequence[PlainSettings],
    *,
    is_sweep: bool,
    elsewhere: bool = False,
    tell: Callable[[int, int], None] = lambda done, count: None,
) -> list[PlannedRun]:
    """Return the planned runs of all jobs, labelled and in order; of those for the same run, only the first.

    `plains` holds the result of `check_plain` for each job. With `elsewhere`, other machines do the runs. `tell` is
    called before each job with the number of jobs planned and of all.

    Raises:
        ConfigError: The first fault; with `is_sweep` it names the job.
    """
    known: dict[str, dict[str, str]] = {}
    planned: dict[Path, PlannedRun] = {}
    for done, (job, plain) in enumerate(zip(jobs, plains, strict=True)):
        tell(done, len(jobs))
        with naming_the_run(job, is_sweep=is_sweep):
            plan = check(job.config, plain, elsewhere=elsewhere)
            output_dir = plan.run.output_dir
            if output_dir not in known:
                known[output_dir] = folders_by_fingerprint(Path(output_dir))
            run = PlannedRun(job=job, plan=plan, folder=_usable_folder(job, plan, known[output_dir]))
            _require_one_run(planned.setdefault(run.folder.lock, run), run)
    jobs = labelled([run.job for run in planned.values()])
    return [replace(run, job=job) for run, job in zip(planned.values(), jobs, strict=True)]


def _require_one_run(one: PlannedRun, other: PlannedRun) -> None:
    """Raise ConfigError if two different configurations share a lock."""
    if are_same(one.job.config, other.job.config):
        return
    names = f"{other.folder.path.name} and {one.folder.path.name}"
    if other.job.config["run_dir"] is not None:
        raise ConfigError(f"run_dir: {names} end in what counts as one hash; choose other names.")
    way_out = "Choose another seed for one of them, or another study."
    raise ConfigError(f"{names} are two runs with one hash, by chance. {way_out}")


def _usable_folder(job: Job, plan: Plan, known: dict[str, str] | None = None) -> RunFolder:
    """Find the folder of a run; raise ConfigError if the run cannot be done or resumed there."""
    folder = find_run_folder(job.config, job.overrides, known)
    require_fit(folder, job.config, plan.task.data_digest)
    return folder
