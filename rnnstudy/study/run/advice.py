"""What to do when memory, the disk or a checkpoint fails a run."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.folder import RunFolder
from rnnstudy.training.checkpoint import Checkpoints


@contextmanager
def advise_on_memory(folder: RunFolder) -> Iterator[None]:
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
def advise_on_disk(folder: RunFolder) -> Iterator[None]:
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
def advise_on_misfit(folder: RunFolder) -> Iterator[None]:
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
