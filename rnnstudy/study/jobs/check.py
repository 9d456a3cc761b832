"""The runs of a command line, checked: all that can be wrong before a run begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rnnstudy.config.schema import Plan, plan_run
from rnnstudy.core.errors import ConfigError
from rnnstudy.core.numerics import require_device_name, select_device
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.identity import are_same, find_run_folder, folders_by_fingerprint
from rnnstudy.runs.job import Config, Job
from rnnstudy.runs.untrusted import read_json
from rnnstudy.runs.usable import require_fit
from rnnstudy.study.jobs.labels import labelled, naming_the_run


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A job that can be done.

    Args:
        job: The job.
        plan: What its configuration asks for.
        folder: Where it is, or is to be.
    """

    job: Job
    plan: Plan
    folder: RunFolder


def check(config: Config, *, elsewhere: bool = False) -> Plan:
    """Check everything that can be checked before training.

    Args:
        config: Of a run.
        elsewhere: Whether it is done on another machine, which may have a GPU though this one has none.

    Returns:
        What the configuration asks for.

    Raises:
        ConfigError: What is wrong.
    """
    plan = plan_run({key: value for key, value in config.items() if key != "choices"})
    require_device_name(plan.run.device)
    if not elsewhere:
        select_device(plan.run.device)
    return plan


def require_same_data(folder: RunFolder, plan: Plan) -> None:
    """Refuse to go on with a run on other data than it was begun with.

    Raises:
        ConfigError: The user's data has changed.
    """
    if not folder.manifest.exists():
        return
    begun_with = read_json(folder.manifest).get("data_digest")
    if begun_with != plan.task.data_digest:
        raise ConfigError(
            f"{folder.path} holds a run on other data: the file that the task reads has changed since. Choose a "
            "run_dir for the new one, or move the folder away."
        )


def check_all(
    jobs: Sequence[Job],
    *,
    is_sweep: bool,
    elsewhere: bool = False,
    tell: Callable[[int, int], None] = lambda done, count: None,
) -> list[Checked]:
    """Check all jobs; of those that ask for the same run only the first is kept.

    Args:
        jobs: The jobs.
        is_sweep: Whether an error names its job.
        elsewhere: Whether they are done on other machines.
        tell: Told before each job how many are checked, and of how many.

    Returns:
        They.

    Raises:
        ConfigError: What is wrong, and in a sweep with which job.
    """
    known: dict[str, dict[str, str]] = {}
    checked: dict[Path, Checked] = {}
    for done, job in enumerate(jobs):
        tell(done, len(jobs))
        with naming_the_run(job, is_sweep=is_sweep):
            plan = check(job.config, elsewhere=elsewhere)
            output_dir = plan.run.output_dir
            if output_dir not in known:
                known[output_dir] = folders_by_fingerprint(Path(output_dir))
            folder = find_run_folder(job.config, job.overrides, known[output_dir])
            require_fit(folder, job.config)
            require_same_data(folder, plan)
            known_as = checked.setdefault(folder.lock, Checked(job=job, plan=plan, folder=folder))
            if not are_same(known_as.job.config, job.config):
                names = f"{folder.path.name} and {known_as.folder.path.name}"
                if job.config["run_dir"] is not None:
                    raise ConfigError(f"run_dir: {names} end in what counts as one hash; choose other names.")
                raise ConfigError(
                    f"{names} are two runs with one hash, by chance. Choose another seed for one of them, or another "
                    "study."
                )
    jobs = labelled([one.job for one in checked.values()])
    return [replace(one, job=job) for one, job in zip(checked.values(), jobs, strict=True)]
