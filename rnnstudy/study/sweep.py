"""The way from a command line to runs, through Hydra: one run or a sweep of them."""

import itertools
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from rich.console import Console

from rnnstudy.config.folder import conf_folder
from rnnstudy.core.errors import ConfigError, RnnstudyError, suggest
from rnnstudy.report.naming import IN_SHORT, short_labels
from rnnstudy.study.identity import find_run_folder, flatten, require_fit
from rnnstudy.study.progress import Screen
from rnnstudy.study.run import Job, check, require_same_data, run
from rnnstudy.study.run_state import RunState

T = TypeVar("T")

_GROUPS = ("task", "model", "mitigation", "instrument", "optimizer", "train", "experiment", "init", "schedule")
CHOICES = ("task", "model", "optimizer", "schedule")
"""Groups of one member each; what was chosen is kept with the run, and so are mitigations and initialisations."""

_INFORMATION_FLAGS = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--shell-completion", "--version"}


class FailedRunsError(RnnstudyError):
    """Some runs of a sweep failed; why is told when they do.

    Args:
        message: How many.
        folders: Hold the runs that were done.
    """

    def __init__(self, message: str, folders: list[Path]) -> None:
        """Keep the folders."""
        super().__init__(message)
        self.folders = folders


def train(arguments: Sequence[str], console: Console) -> list[Path]:
    """Run what a command line asks for, once all of it has been checked.

    Args:
        arguments: Hydra's: overrides and flags.
        console: Where progress is shown.

    Returns:
        The folders that hold the runs.

    Raises:
        ConfigError: Something about the configuration of any of the runs is wrong; none was started.
        FailedRunsError: Runs of a sweep failed; the others were done.
        RnnstudyError: The run failed.
    """
    arguments = _multirun_first(arguments)
    if not _INFORMATION_FLAGS.isdisjoint(argument.partition("=")[0] for argument in arguments):
        _call_hydra(lambda config: None, arguments)
        return []
    jobs = _labelled(_rehearse(arguments))
    _require_folders_apart(jobs)
    failed: list[RnnstudyError] = []
    count = len(jobs)
    with Screen(console, [_waiting(job) for job in jobs]) as screen:
        done = _collect(arguments, lambda config: _perform(config, jobs, screen), failed)
    folders = sorted({folder.parent for folder in done if folder is not None})
    if failed and count == 1:
        raise failed[0]
    if failed:
        raise FailedRunsError(f"{len(failed)} of {count} runs failed.", folders)
    return folders


def _multirun_first(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the flag of a sweep in front: Hydra knows it between overrides no more."""
    flags = [argument for argument in arguments if argument in {"-m", "--multirun"}]
    return flags[:1] + [argument for argument in arguments if argument not in flags]


def first_job(arguments: Sequence[str]) -> Job:
    """The run that overrides ask for, checked but not done; of a sweep the first.

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
    return _compose(arguments, _job)[0]


def _compose(arguments: Sequence[str], task: Callable[[DictConfig], T]) -> list[T]:
    """Call `task` for every job, whatever the launcher; Hydra writes nothing that stays.

    Returns:
        What it gave.

    Raises:
        RnnstudyError: The first that was raised.
    """
    wrong: list[RnnstudyError] = []
    with tempfile.TemporaryDirectory() as scratch:
        kept = [argument for argument in arguments if not argument.startswith(("hydra/launcher", "hydra.launcher"))]
        done = _collect([*kept, "hydra/launcher=basic", f"hydra.sweep.dir={scratch}"], task, wrong)
    if wrong:
        raise wrong[0]
    return done


def _collect(arguments: Sequence[str], task: Callable[[DictConfig], T], failures: list[RnnstudyError]) -> list[T]:
    """Let Hydra call `task` for every job; its errors for the user are kept, and the other jobs go on."""
    done: list[T] = []

    def guarded(config: DictConfig) -> None:
        try:
            done.append(task(config))
        except RnnstudyError as error:
            failures.append(error)

    _call_hydra(guarded, arguments)
    return done


def _rehearse(arguments: Sequence[str]) -> list[Job]:
    """Check every job that is to be done.

    Returns:
        The jobs.

    Raises:
        ConfigError: What is wrong, and in a sweep with which job.
    """
    first: list[Job] = []

    def rehearse(config: DictConfig) -> Job | None:
        job = _job(config)
        first.append(job)
        return _checked(job) if _is_wanted(job, first[0]) else None

    return [job for job in _compose(arguments, rehearse) if job is not None]


def _is_wanted(job: Job, first: Job) -> bool:
    """Whether a job of a sweep is to be done: of a sweep with one_at_a_time those near enough to its first job."""
    return job.config["one_at_a_time"] is not True or len(set(job.overrides) - set(first.overrides)) <= 1


def _checked(job: Job) -> Job:
    """Check one job.

    Returns:
        The job.

    Raises:
        ConfigError: What is wrong, and in a sweep with which job.
    """
    try:
        plan, folder = check(job.config), find_run_folder(job.config, job.overrides)
        require_fit(folder, job.config)
        require_same_data(folder, plan)
    except ConfigError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise ConfigError(f"{error} (in the run {' '.join(job.overrides)})") from None
        raise
    return job


def _require_folders_apart(jobs: Sequence[Job]) -> None:
    """Refuse a sweep that would put different runs into one folder.

    Raises:
        ConfigError: `run_dir` is set, and there are several configurations.
    """
    for one, other in itertools.pairwise(jobs):
        if one.config["run_dir"] is not None and one.config["run_dir"] == other.config["run_dir"]:
            raise ConfigError(
                f"run_dir={one.config['run_dir']} is one folder, but the sweep has {len(jobs)} runs; leave run_dir "
                "out, and each run has a folder named by its configuration."
            )


def _labelled(jobs: Sequence[Job]) -> list[Job]:
    """Number the jobs of a sweep, and have their labels tell what they do not share with all others.

    Returns:
        The jobs; a single one as it is.
    """
    if len(jobs) == 1:
        return list(jobs)
    shared = set(jobs[0].overrides).intersection(*(other.overrides for other in jobs))
    owns = [[override.partition("=") for override in job.overrides if override not in shared] for job in jobs]
    short = short_labels(list(dict.fromkeys(key for own in owns for key, _, _ in own)))
    labelled = []
    for place, (job, own) in enumerate(zip(jobs, owns, strict=True), 1):
        values = [f"{short[key]}={value}" for key, _, value in own if key not in IN_SHORT]
        labelled.append(replace(job, label=", ".join([f"[{place}/{len(jobs)}] {job.label}", *values])))
    return labelled


def _waiting(job: Job) -> RunState:
    return RunState(name=job.label, num_steps=job.config["train"]["num_steps"], replicas=job.config["replicas"])


def _perform(config: DictConfig, pending: list[Job], screen: Screen) -> Path | None:
    """Do one of the jobs that are pending, unless it is left out of the sweep.

    Returns:
        The run's folder.
    """
    overrides = _job(config).overrides
    for place, job in enumerate(pending):
        if job.overrides == overrides:
            return run(pending.pop(place), screen).path
    return None


def _job(config: DictConfig) -> Job:
    """Read one job off its configuration.

    Returns:
        The job.

    Raises:
        ConfigError: A value that has no default is not given.
    """
    hydra_config = HydraConfig.get()
    try:
        plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    except MissingMandatoryValue as error:
        group = str(error.full_key).partition(".")[0]
        file = f"conf/{group}/{hydra_config.runtime.choices.get(group)}.yaml"
        raise ConfigError(f"{error.full_key} has no default and must be given; {file} says what it is.") from None
    mitigations = list(plain.get("mitigation") or {})
    model = plain.get("model")
    inits = model.get("init") if isinstance(model, dict) else None
    inits = list(inits) if isinstance(inits, dict) else []
    choices = {group: hydra_config.runtime.choices.get(group) for group in CHOICES}
    plain = {"choices": {**choices, "init": inits, "mitigation": mitigations}, **plain}
    name = f"{choices['model']} ({', '.join(inits)})" if inits else str(choices["model"])
    label = " + ".join([name, *mitigations])
    return Job(config=plain, overrides=list(hydra_config.overrides.task), label=label)


def _call_hydra(task: Callable[[DictConfig], Any], arguments: Sequence[str]) -> None:
    """Hand the arguments to Hydra, which calls `task` with every composed configuration.

    Raises:
        ConfigError: What Hydra finds wrong, in one line.
        RnnstudyError: Hydra cannot write into the sweep's folder.
        OSError: From `task`.
        ValueError: Something else, of nobody's intention.
    """
    of_task: list[OSError] = []

    def watched(config: DictConfig) -> Any:
        try:
            return task(config)
        except OSError as error:
            of_task.append(error)
            raise

    main = hydra.main(config_path=str(conf_folder()), config_name="config", version_base="1.3")(watched)
    with _hydra_surroundings(arguments):
        try:
            main()
        except MissingConfigException as error:
            raise ConfigError(_explain_missing(error)) from None
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(_explain(error, arguments)) from None
        except OSError as error:
            if error in of_task or error.filename is None:
                raise
            place = Path(error.filename)
            folder = place.parent if place.name == "multirun.yaml" else place
            raise RnnstudyError(f"'{folder}' cannot be written to: {error.strerror}.") from None
        except ValueError as error:
            # Of all that Hydra refuses, this has no class of its own.
            if "Config group override must be" not in str(error):
                raise
            wrong = " ".join(each for each in arguments if each.partition("=")[2] in {"null", "true", "false"})
            raise ConfigError(f"{wrong or 'A group'} must name a member of its group, such as task=adding.") from None


@contextmanager
def _hydra_surroundings(arguments: Sequence[str]) -> Iterator[None]:
    """Give Hydra its arguments, and have it raise errors rather than print them and exit."""
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["rnnstudy train", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        GlobalHydra.instance().clear()


def _explain_missing(error: MissingConfigException) -> str:
    name = error.missing_cfg_file or ""
    group, _, member = name.rpartition("/")
    members = [path.stem for path in (conf_folder() / group).glob("*.yaml")] if group in _GROUPS else []
    if not members:
        return f"There is no configuration file '{name}'."
    return f"{group} has no member '{member}'. {suggest(member, members)}"


def _explain(error: Exception, arguments: Sequence[str]) -> str:
    """Say in one line what Hydra says in several."""
    if isinstance(error, OverrideParseException):
        reason = (error.message or "").partition("\n")[0]
        return f"Cannot read '{error.override}': {reason}. An override is key=value, a list key=[a,b]."
    if "Ambiguous value for argument" in str(error):
        argument = str(error).partition("'")[2].partition("'")[0]
        return f"{argument} holds several values: add -m to run each of them, or quote the value to have it as one."
    found = re.search(r"Could not override '([^']+)'", str(error))
    if isinstance(error, ConfigCompositionException) and found:
        return _explain_key(found[1].partition("@")[0], arguments)
    text = str(error.__cause__) if isinstance(error.__cause__, OmegaConfBaseException) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("object_type")]
    return " ".join(lines)


def _elsewhere(key: str, config: DictConfig) -> str:
    """Say where a key of this name is, if it is further in."""
    known = flatten(cast(dict[str, Any], OmegaConf.to_container(config)))
    places = [place for place in known if place.endswith(f".{key}")]
    return f"Did you mean {' or '.join(places)}? " if places else ""


def _explain_key(key: str, arguments: Sequence[str]) -> str:
    """Say which keys there are in place of an unknown one."""
    others = [
        argument for argument in arguments if not argument.startswith("-") and not argument.lstrip("+~").startswith(key)
    ]
    groups = [argument for argument in others if argument.partition("=")[0] in _GROUPS and "," not in argument]
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = hydra.compose("config", groups)
    parts, known = key.split("."), ""
    for group, place in (("init", "model.init"), ("mitigation", "mitigation"), ("instrument", "instrument")):
        member = key.removeprefix(f"{place}.").partition(".")[0]
        chosen = any(argument.startswith(f"{group}=") and member in argument for argument in arguments)
        if key.startswith(f"{place}.") and not chosen and (conf_folder() / group / f"{member}.yaml").exists():
            return f"{key} is a key of {member}, which is not chosen: add it, as in {group}=[{member}]."
    node: Any = config
    for part in parts:
        if not isinstance(node, DictConfig) or part not in node:
            allowed = [name for name in node if name != "_target_"] if isinstance(node, DictConfig) else []
            return f"{key} is not a known key. {_elsewhere(key, config)}{suggest(part, map(str, allowed))}"
        known, node = f"{known}.{part}".lstrip("."), node[part]
    return f"{key} cannot be overridden."
