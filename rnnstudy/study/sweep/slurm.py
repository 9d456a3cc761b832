"""Sweeps on Slurm, through submitit: they wait for every job, and preempted jobs resume."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import submitit
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
from omegaconf import DictConfig, OmegaConf
from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import FailedJobError
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, Interrupted
from rnnstudy.study.run.signals import handling

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_QUESTIONS = 10.0
"""The queue is asked about jobs without a result: a cluster without accounting has no other record of them."""

MOST_IN_AN_ARRAY = 1000
"""Slurm's default for the size of a job array is 1001."""


class PatientLauncher(Launcher):
    """Launcher around submitit's that submits arrays of jobs, and waits until each has a result or is not queued."""

    def __init__(self, launcher: Launcher) -> None:
        """Wrap submitit's launcher, which has the settings and runs in the jobs; submit nothing yet."""
        assert isinstance(launcher, BaseSubmititLauncher), launcher
        self._launcher = launcher

    @override
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    @override
    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        jobs: list[submitit.Job[JobReturn]] = []
        try:
            self._submit(jobs, job_overrides, initial_job_idx)
            _wait(jobs, ask_queue=self._launcher._EXECUTOR == "slurm")
        except KeyboardInterrupt:
            raise Interrupted(self._what_goes_on(jobs)) from None
        # A launcher of Hydra's returns one result per job; those that died have none.
        return [_result(job) for job in jobs]  # pyright: ignore[reportReturnType]

    def _submit(
        self, jobs: list["submitit.Job[JobReturn]"], job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> None:
        """Submit jobs, and append each batch to the list once it has its number; raise ConfigError if Slurm refuses."""
        executor = self._executor()
        for start in range(0, len(job_overrides), MOST_IN_AN_ARRAY):
            some = range(start, min(start + MOST_IN_AN_ARRAY, len(job_overrides)))
            state = Singleton.get_state()
            calls = [(list(job_overrides[at]), "hydra.sweep.dir", initial_job_idx + at, str(at), state) for at in some]
            try:
                with _ctrl_c_waits():
                    jobs += executor.map_array(self._launcher, *zip(*calls, strict=True))
            except FailedJobError as error:
                others = f" Of those before: {self._what_goes_on(jobs)}." if jobs else ""
                raise ConfigError(f"Slurm refuses the jobs: {' '.join(str(error).split())}{others}") from None

    def _what_goes_on(self, jobs: Sequence["submitit.Job[JobReturn]"]) -> str:
        if not jobs:
            return "stopped before any job was submitted"
        ids = " ".join(dict.fromkeys(job.job_id.partition("_")[0] for job in jobs))
        see, stop = ("squeue --me", "scancel") if self._launcher._EXECUTOR == "slurm" else ("ps", "kill")
        return f"no longer waiting; the jobs go on. To see them: {see}; to stop them: {stop} {ids}"

    def _executor(self) -> submitit.AutoExecutor:
        """Return the executor for jobs; raise ConfigError if there is no Slurm here, or it lacks a setting."""
        kind, params = self._launcher._EXECUTOR, dict(self._launcher.params)
        common = set(OmegaConf.structured(BaseQueueConf).keys())
        folder, timeouts = params.pop("submitit_folder"), params.pop("max_num_timeout", None)
        # Job numbers begin anew with a new cluster, and files of an old one would be taken for results.
        batch = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
        folder = str(folder).replace("%j", f"{batch}/%j")
        limits = {} if timeouts is None else {f"{kind}_max_num_timeout": timeouts}
        try:
            executor = submitit.AutoExecutor(folder=folder, cluster=kind, **limits)
            named = {name if name in common else f"{kind}_{name}": setting for name, setting in params.items()}
            executor.update_parameters(**named)
        except (RuntimeError, ValueError, NameError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"hydra/launcher=submitit_{kind} cannot be used here: {reason}") from None
        return executor


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Delay Ctrl-C to the end of the block: jobs half submitted would fail, and their numbers be lost."""
    pressed: list[int] = []
    try:
        with handling((signal.SIGINT,), lambda number, _: pressed.append(number)):
            yield
    finally:
        if pressed:
            raise KeyboardInterrupt


def _wait(jobs: Sequence["submitit.Job[Any]"], *, ask_queue: bool) -> None:
    """Wait until every job has ended."""
    left = list(jobs)
    absent: set[str] = set()
    asked, told = time.monotonic(), False
    while left:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        left = [job for job in left if not job.paths.result_pickle.exists()]
        if not ask_queue:
            left = [job for job in left if not job.done()]
        elif left and time.monotonic() - asked >= SECONDS_BETWEEN_QUESTIONS:
            asked, queued = time.monotonic(), queued_jobs()
            if queued is None:
                if not told:
                    logging.getLogger(__name__).warning(
                        "Slurm does not answer (squeue); still waiting for %d jobs. Ctrl-C ends the waiting.", len(left)
                    )
                told = True
                continue
            # A job that returns to the queue may be missing for a moment.
            gone = {job.job_id for job in left} - queued
            left = [job for job in left if job.job_id not in gone & absent]
            absent = gone


def queued_jobs() -> set[str] | None:
    """Return the jobs of this user that wait or run, as `123_4`; None if Slurm does not answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return set(asked.stdout.split()) if asked.returncode == 0 else None


def _result(job: "submitit.Job[JobReturn]") -> JobReturn | None:
    if not job.paths.result_pickle.exists():
        return None
    try:
        return job.results()[0]
    except Exception:
        # The run's folder shows its outcome.
        return None


def hand_on(interrupted: Interrupted) -> None:
    """Let a job be queued again whose run was interrupted by a signal and has saved its checkpoint.

    Slurm itself requeues a job that it preempts; it sends SIGTERM first, and so does `scancel`. The signal before the
    time limit (and a preemption that a site announces by SIGUSR1) is ours to answer: submitit does, which counts how
    often it may.

    Raises:
        SystemExit: The job is over, or queued again.
    """
    if interrupted.signal is None:
        return
    asked = {signal.SIGUSR1, signal.SIGUSR2}
    if "SUBMITIT_FOLDER" in os.environ and (interrupted.signal in asked or _is_in_grace()):
        signal.raise_signal(JobEnvironment._usr_sig())
    sys.exit(128 + interrupted.signal)


def _is_in_grace() -> bool:
    """Return whether Slurm preempts this job after a delay (GraceTime).

    A job that ends in that time counts as over: it is not requeued, unless it asks for that itself.
    """
    try:
        command = ["scontrol", "show", "job", "--oneliner", JobEnvironment().job_id]
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "JobState=RUNNING" in told and "PreemptTime=" in told and "PreemptTime=None" not in told
