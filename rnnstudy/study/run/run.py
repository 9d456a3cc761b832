"""One run: a configuration becomes parts, the parts a loop, the loop a result in a run folder."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

import torch
import yaml

from rnnstudy.core.numerics import select_device
from rnnstudy.runs.failure import record_failure
from rnnstudy.runs.folder import RunFolder, write_atomically, write_json
from rnnstudy.runs.lock import Lock, LostError
from rnnstudy.study.jobs.check import PlannedRun
from rnnstudy.study.run.advice import advise_on_disk, advise_on_memory, advise_on_misfit
from rnnstudy.study.run.assemble import assemble
from rnnstudy.study.run.board_facts import chosen_columns, hyperparameters, run_facts
from rnnstudy.study.run.record import manifest, result_of, summary_line
from rnnstudy.study.run.signals import stop_requests
from rnnstudy.study.screen.progress import RunProgress, Screen, waiting
from rnnstudy.training.checkpoint import Checkpoints
from rnnstudy.training.loop import Outlets, Training
from rnnstudy.training.replicas import NEVER
from rnnstudy.writers.base import Writer
from rnnstudy.writers.run_log import RunLog
from rnnstudy.writers.tensorboard import TensorBoard

Stop = Callable[[], bool]


def do_run(
    planned: PlannedRun, screen: Screen, *, views: Sequence[Writer] = (), stop: Stop = lambda: False
) -> RunFolder:
    """Do a run, resume it, or find it finished.

    `views` receive every measurement, beside the run's own log. `stop` is called after every step; true saves a
    checkpoint and ends the run with `Interrupted`.

    Returns:
        Folder of the run.

    Raises:
        ConfigError: By now the folder holds something else.
        HeldError: Another process does this run.
        Interrupted: The run was asked to stop; a checkpoint is saved.
        RnnstudyError: The run failed, for a reason that the user can do something about.
        Exception: It failed for another reason; either is kept in the run folder.
    """
    with screen.follow(waiting(planned.job.label, planned.plan)) as progress:
        if not planned.folder.is_finished:
            with _held(planned.folder, progress) as lost:
                # Another process may have named the folder, or done the run, before the lock was held.
                planned = planned.located_again()
                if not planned.folder.is_finished:
                    return _attempt(planned, progress, views=views, stop=lambda: lost() or stop())
        progress.state.take(planned.folder.result)
        progress.say(f"finished already, nothing to do ({planned.folder.path})")
    return planned.folder


@contextmanager
def _held(folder: RunFolder, progress: RunProgress) -> Iterator[Stop]:
    """Hold the lock of a run; yield a check to call after every step, which raises LostError once the lock is lost."""
    lock = Lock(folder.lock, progress.told)

    def lost() -> bool:
        if lock.lost:
            told = f"{folder.path}: the lock of this run ({folder.lock}) was removed, or can be written no more"
            why = "since another process may do the run now"
            raise LostError(f"{told}; stopped without a checkpoint, {why}. The same command goes on.")
        return False

    with lock:
        yield lost


def _attempt(planned: PlannedRun, progress: RunProgress, *, views: Sequence[Writer], stop: Stop) -> RunFolder:
    """Do a run whose lock is held, and return its folder; an error is recorded there."""
    folder, plan = planned.folder, planned.plan
    device = select_device(plan.run.device)
    progress.record_in(folder)
    try:
        with advise_on_memory(folder), advise_on_disk(folder), plan.numerics.applied():
            _prepare(planned, device)
            progress.start()
            _train(planned, device, progress, views=views, stop=stop)
    except LostError:
        raise
    except Exception as error:
        record_failure(folder, error)
        raise
    return folder


def _prepare(planned: PlannedRun, device: torch.device) -> None:
    """Make the folder with the configuration and all that is known before training; raise OSError if that fails."""
    folder, config = planned.folder, dict(planned.job.config)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.failure.unlink(missing_ok=True)
    write_atomically(folder.config, yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode())
    if not folder.manifest.exists():
        write_json(folder.manifest, manifest(planned, device))


def _train(
    planned: PlannedRun, device: torch.device, progress: RunProgress, *, views: Sequence[Writer], stop: Stop
) -> None:
    job, plan, folder = planned.job, planned.plan, planned.folder
    checkpoints = Checkpoints(folder.checkpoints, plan.train.kept_checkpoints)
    content, damaged = checkpoints.load()
    for path in damaged:
        before = "going back to the checkpoint before it" if content else "there is none before it: beginning anew"
        progress.say(f"{path.name} is damaged; {before}")
        checkpoints.drop(path)
    with advise_on_misfit(folder):
        was_done = content is not None and content["done"] is True
        # The step of a checkpoint is repeated, unless the run had ended.
        purge_step = int(content["step"]) + was_done if content is not None else 0
    parts = assemble(plan, device)
    facts = run_facts(plan, job.config, parts.network)
    with (
        closing(RunLog(folder)) as log,
        closing(TensorBoard(folder.tensorboard, facts, purge_step)) as board,
        stop_requests(stop) as to_stop,
    ):
        outlets = Outlets(
            log=log, views=[board, progress, *views], checkpoints=checkpoints, listener=progress, stop_requested=to_stop
        )
        training = Training(parts, outlets)
        if content is None:
            log.clear()
            config = f"```yaml\n{folder.config.read_text()}```"
            columns = hyperparameters(job.config, job.overrides, plan.task.facts.seq_len)
            board.begin(config, columns, chosen_columns(job.overrides))
        else:
            with advise_on_misfit(folder):
                training.restore(content)
            board.restore(log.metrics(), log.curves(), log.histograms())
            progress.resume(training.step, training.states)
        training.run()
        if not was_done:
            with training.phases.during("writers"):
                states = training.states
                solved_at = [math.inf if steps == NEVER else steps for steps in states.steps_to_solve.tolist()]
                board.finish(training.step, solved_at)
        training.save()
    result = result_of(planned, training, device)
    write_json(folder.result, result)
    progress.state.read(result)
    progress.say(summary_line(training, folder, judged=plan.task.facts.solved is not None))
