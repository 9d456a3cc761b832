"""One run: a configuration becomes parts, the parts a loop, the loop a result in a run folder."""

import errno
import hashlib
import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
import yaml

from rnnstudy.config.schema import Plan
from rnnstudy.core.errors import Interrupted, RnnstudyError
from rnnstudy.core.failure import record_failure
from rnnstudy.core.lock import Lock, LostError
from rnnstudy.core.numerics import select_device
from rnnstudy.core.run_folder import FORMAT, RunFolder, write_atomically, write_json
from rnnstudy.core.seeding import make_generator, replica_generators
from rnnstudy.models.base import Interface
from rnnstudy.report.read import read_run
from rnnstudy.study.checked import check, require_same_data
from rnnstudy.study.identity import find_run_folder, fingerprint, require_fit, short_name
from rnnstudy.study.job import Job
from rnnstudy.study.progress import RunProgress, Screen
from rnnstudy.study.provenance import commit, device_name, versions
from rnnstudy.study.view import chosen_columns, hyperparameters, run_facts
from rnnstudy.tasks.base import Task
from rnnstudy.training.checkpoint import Checkpoints
from rnnstudy.training.loop import Outlets, Parts, Training
from rnnstudy.training.replicas import NEVER
from rnnstudy.writers.base import Writer
from rnnstudy.writers.run_log import RunLog
from rnnstudy.writers.tensorboard import TensorBoard


def run(
    job: Job, screen: Screen, *, views: Sequence[Writer] = (), stop: Callable[[], bool] = lambda: False
) -> RunFolder:
    """Do a run, resume it, or find it finished.

    Args:
        job: The run.
        screen: Where it is shown.
        views: Are told every measurement, beside the run's own log.
        stop: Asked after every step; true saves a checkpoint and ends the run with `Interrupted`.

    Returns:
        The run folder.

    Raises:
        ConfigError: The configuration is wrong, or the folder holds another one.
        HeldError: Another process does this run.
        Interrupted: The run was told to stop; a checkpoint is saved.
        RnnstudyError: The run failed, for a reason that the user can do something about.
        Exception: It failed for another reason; either is kept in the run folder.
    """
    with screen.run(job.label) as progress:
        plan = check(job.config)
        progress.describe(plan)
        folder = _require_usable(job, plan)
        if not folder.is_finished:
            with _held(folder, progress) as lost:
                # Another process may have named the folder, or done the run, until the lock was held.
                folder = _require_usable(job, plan)
                if not folder.is_finished:
                    return _attempt(job, folder, plan, Attending(progress, views, lambda: lost() or stop()))
        progress.find_finished(folder.result)
        progress.say(f"finished already, nothing to do ({folder.path})")
    return folder


@dataclass(frozen=True)
class Attending:
    """Who follows a run while it is done.

    Args:
        progress: Shows it.
        views: Are told every measurement.
        stop: Asked after every step; true ends the run.
    """

    progress: RunProgress
    views: Sequence[Writer]
    stop: Callable[[], bool]


def _require_usable(job: Job, plan: Plan) -> RunFolder:
    """Find a run's folder, and refuse one in which it cannot be done.

    Returns:
        The folder.

    Raises:
        ConfigError: It holds something else.
    """
    folder = find_run_folder(job.config, job.overrides)
    require_fit(folder, job.config)
    require_same_data(folder, plan)
    return folder


@contextmanager
def _held(folder: RunFolder, progress: RunProgress) -> Iterator[Callable[[], bool]]:
    """Hold the lock of a run.

    Yields:
        To be asked after every step; raises once the lock is lost.

    Raises:
        HeldError: Another process does the run.
        LostError: The lock was lost.
        RnnstudyError: It cannot be made.
    """
    lock = Lock(folder.lock, progress.told)

    def lost() -> bool:
        if lock.lost:
            raise LostError(
                f"{folder.path}: the lock of this run ({folder.lock}) was removed, or can be written no more; stopped "
                "without a checkpoint, since another process may do the run now. The same command goes on."
            )
        return False

    with lock:
        yield lost


def _attempt(job: Job, folder: RunFolder, plan: Plan, attending: Attending) -> RunFolder:
    """Do a run whose lock is held.

    Returns:
        The folder.

    Raises:
        Interrupted: The run was told to stop; a checkpoint is saved.
        LostError: The lock was lost.
        Exception: It failed; why is kept in the folder.
    """
    device = select_device(plan.run.device)
    attending.progress.record_in(folder)
    try:
        with _told_of_memory(folder), _told_of_disk(folder), plan.numerics.applied():
            _prepare(folder, job, plan, device)
            attending.progress.start()
            _train(job, folder, plan, device=device, attending=attending)
    except LostError:
        raise
    except Exception as error:
        record_failure(folder, error)
        raise
    return folder


@contextmanager
def _told_of_memory(folder: RunFolder) -> Iterator[None]:
    """Say what to do when memory runs out.

    Raises:
        RnnstudyError: Memory ran out.
        RuntimeError: Something else that torch found wrong.
    """
    advice = "lower model.hidden_size, train.batch_size, replicas or the length of the sequences."
    try:
        yield
    except MemoryError:
        raise RnnstudyError(f"{folder.path}: there is not enough memory for this run; {advice}") from None
    except RuntimeError as error:
        # On the CPU torch says only in words that memory ran out.
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise RnnstudyError(f"{folder.path}: there is not enough memory for this run; {advice}") from None


@contextmanager
def _told_of_disk(folder: RunFolder) -> Iterator[None]:
    """Say what to do when a run cannot be written.

    Raises:
        RnnstudyError: The disk is full, or the folder cannot be written to any more.
    """
    try:
        yield
    except OSError as error:
        saved = Checkpoints(folder.checkpoints).steps()
        intact = f"the checkpoint of step {saved[-1]} is intact" if saved else "no checkpoint was saved yet"
        way_out = "free some space" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "see to the folder"
        raise RnnstudyError(
            f"{folder.path} cannot be written to: {error.strerror or error}; {intact}. "
            f"Once you {way_out}, the same command goes on."
        ) from error


@contextmanager
def _told_of_misfit(folder: RunFolder) -> Iterator[None]:
    """Say what to do about a checkpoint that is whole, but not one of this run.

    Raises:
        RnnstudyError: It is not.
        Exception: Something else is wrong: the log, the disk or the memory.
    """
    try:
        yield
    except Exception as error:
        others = RnnstudyError | OSError | MemoryError | torch.OutOfMemoryError
        if isinstance(error, others) or "allocate memory" in str(error):
            raise
        raise RnnstudyError(
            f"{folder.checkpoints}: the last checkpoint is not one of this run ({type(error).__name__}). Remove it to "
            "go back to the one before, or move the run folder away to run it anew."
        ) from error


def _prepare(folder: RunFolder, job: Job, plan: Plan, device: torch.device) -> None:
    """Make the folder with the configuration and what is known before training.

    Raises:
        OSError: The folder cannot be made or written to.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.failure.unlink(missing_ok=True)
    write_atomically(folder.config, yaml.safe_dump(dict(job.config), sort_keys=False, allow_unicode=True).encode())
    if not folder.manifest.exists():
        write_json(folder.manifest, _manifest(job, plan, device))


def _manifest(job: Job, plan: Plan, device: torch.device) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "name": short_name(job.config, job.overrides),
        "overrides": job.overrides,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "commit": commit(),
        "device": device_name(device),
        "seed": plan.run.seed,
        "replicas": plan.run.replicas,
        "fingerprint": fingerprint(job.config),
        "data_digest": plan.task.data_digest,
        "facts": _facts(plan.task.held_out()),
    }


def _facts(task: Task) -> dict[str, Any]:
    facts, solved = task.facts, task.facts.solved
    asked = task.sample(1, make_generator(0, "facts"))
    return {
        "loss_at_end": asked.loss_steps.tolist() == [facts.seq_len - 1],
        "seq_len": facts.seq_len,
        "chance_loss": facts.chance_loss,
        "chance_accuracy": facts.chance_accuracy,
        "memoryless_loss": facts.memoryless_loss,
        "solved_metric": solved and solved.metric,
        "solved_at": solved and solved.threshold,
        "solved_when": solved and solved.direction,
        "informative_steps": list(facts.informative_steps),
    }


def interface_of(task: Task) -> Interface:
    """What a task asks of a network."""
    facts = task.facts
    return Interface(
        input_size=facts.input_size, output_size=facts.output_size, encoding=facts.encoding, seq_len=facts.seq_len
    )


def assemble(plan: Plan, device: torch.device) -> Parts:
    """Build everything that a plan asks for, the network with its initial weights."""
    generators = replica_generators(plan.run.seed, plan.run.replicas, "init")
    network = plan.model.build(interface_of(plan.task), generators)
    for mitigation in plan.mitigations:
        mitigation.prepare(network)
    network.to(device)
    return Parts(
        task=plan.task,
        seq_lens=plan.seq_lens,
        other_seq_lens=plan.eval.seq_lens,
        network=network,
        mitigations=plan.mitigations,
        instruments=plan.instruments,
        optimizer=plan.make_optimizer(network),
        schedule=plan.schedule,
        settings=plan.train,
        seed=plan.run.seed,
    )


def _train(job: Job, folder: RunFolder, plan: Plan, *, device: torch.device, attending: Attending) -> None:
    progress = attending.progress
    checkpoints = Checkpoints(folder.checkpoints, plan.train.kept_checkpoints)
    content, damaged = checkpoints.load()
    for path in damaged:
        before = "going back to the checkpoint before it" if content else "there is none before it: beginning anew"
        progress.say(f"{path.name} is damaged; {before}")
        checkpoints.drop(path)
    with _told_of_misfit(folder):
        was_done = content is not None and content["done"] is True
        # The step of a checkpoint is done again, unless the run had come to its end.
        purge_step = int(content["step"]) + was_done if content is not None else 0
    parts = assemble(plan, device)
    facts = run_facts(plan, job.config["choices"]["mitigation"], parts.network)
    with (
        closing(RunLog(folder)) as log,
        closing(TensorBoard(folder.tensorboard, facts, purge_step)) as board,
        _stop_requests(attending.stop) as stop_requested,
    ):
        outlets = Outlets(
            log=log,
            views=[board, progress, *attending.views],
            checkpoints=checkpoints,
            listener=progress,
            stop_requested=stop_requested,
        )
        training = Training(parts, outlets)
        if content is None:
            log.clear()
            config = f"```yaml\n{folder.config.read_text()}```"
            columns = hyperparameters(job.config, job.overrides, plan.task.facts.seq_len)
            board.begin(config, columns, chosen_columns(job.overrides))
        else:
            with _told_of_misfit(folder):
                training.restore(content)
            board.restore(log.metrics(), log.curves(), log.histograms())
            progress.resume(training.step, training.states)
        training.run()
        if not was_done:
            with training.phases.during("writers"):
                _finish(board, training)
        training.save()
    result = _result(folder, plan, training, device)
    write_json(folder.result, result)
    progress.finish(result)
    progress.say(_summary(training, folder, judged=plan.task.facts.solved is not None))


def _finish(board: TensorBoard, training: Training) -> None:
    states = training.states
    steps_to_solve = [math.inf if steps == NEVER else steps for steps in states.steps_to_solve.tolist()]
    board.finish(training.step, steps_to_solve, diverged=states.names().count("diverged"))


def _result(folder: RunFolder, plan: Plan, training: Training, device: torch.device) -> dict[str, Any]:
    steps_to_solve = [None if steps == NEVER else steps for steps in training.states.steps_to_solve.tolist()]
    return {
        "format": FORMAT,
        "status": training.states.names(),
        "steps_to_solve": steps_to_solve,
        "steps": training.step,
        "skipped": training.states.skipped.tolist(),
        "final": _final_figures(folder, plan.run.replicas),
        "config_sha256": hashlib.sha256(folder.config.read_bytes()).hexdigest(),
        "digest": read_run(folder, label=folder.path.name).digest.to_json(),
        "wall_seconds": round(training.seconds, 2),
        "phase_seconds": {phase: round(seconds, 3) for phase, seconds in training.phases.seconds.items()},
        "seed": plan.run.seed,
        "device": device_name(device),
        "versions": versions(),
        "commit": commit(),
    }


def _final_figures(folder: RunFolder, replicas: int) -> dict[str, list[float | None]]:
    """The last logged figure of every tag and replica; None where there is none."""
    final: dict[str, list[float | None]] = {}
    with closing(RunLog(folder)) as log:
        for record in log.metrics():
            for tag, figure in record.items():
                if tag not in {"step", "replica"}:
                    final.setdefault(tag, [None] * replicas)[record["replica"]] = figure
    return final


def _summary(training: Training, folder: RunFolder, *, judged: bool) -> str:
    names = training.states.names()
    told = [f"solved {names.count('solved')} of {len(names)} replicas" if judged else f"trained {len(names)} replicas"]
    steps = training.states.steps_to_solve
    solved = steps[steps != NEVER]
    if len(solved):
        told.append(f"first after {int(solved.min())} steps, last after {int(solved.max())}")
    if "diverged" in names:
        told.append(f"{names.count('diverged')} diverged")
    return f"{', '.join(told)}; {training.step} steps in {training.seconds:.0f} s ({folder.path})"


STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Ctrl-C, what `kill` and a closing terminal send, and what clusters send before they take a job from its node."""


@contextmanager
def _stop_requests(stop: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Turn signals into a request to stop after the step; a second Ctrl-C stops at once.

    Args:
        stop: Another reason to stop.

    Yields:
        Whether to stop, to be asked after every step.

    Raises:
        Interrupted: The run has stopped; tells the signal, if it was one.
        KeyboardInterrupt: Ctrl-C was pressed a second time.
    """
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    requested: list[int] = []

    def handle(number: int, frame: object) -> None:
        if requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        requested.append(number)

    # Under nohup a closing terminal is to be survived.
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    previous = {number: signal.signal(number, handle) for number in STOP_SIGNALS if number not in ignored}
    try:
        yield lambda: bool(requested) or stop()
    except Interrupted as interrupted:
        interrupted.signal = requested[0] if requested else None
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
