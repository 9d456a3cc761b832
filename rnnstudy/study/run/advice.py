"""Advice for a run that fails for lack of memory or disk, or because of its checkpoint."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.folder import RunFolder
from rnnstudy.training.checkpoint import Checkpoints


def _is_about_memory(error: Exception) -> bool:
    # On the CPU torch says only in words that memory ran out.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)


@contextmanager
def advise_on_memory(folder: RunFolder) -> Iterator[None]:
    """Turn an error of too little memory into a RnnstudyError that names what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_about_memory(error):
            raise
        sizes = "model.hidden_size, train.batch_size, train.eval_batch_size, eval.solved_batch_size, replicas"
        way_out = f"lower {sizes} or the length of the sequences"
        raise RnnstudyError(f"{folder.path}: there is not enough memory for this run; {way_out}.") from None


@contextmanager
def advise_on_disk(folder: RunFolder) -> Iterator[None]:
    """Turn an error in writing a run into a RnnstudyError that reports what is intact and what to do."""
    try:
        yield
    except OSError as error:
        saved = Checkpoints(folder.checkpoints).steps()
        intact = f"the checkpoint of step {saved[-1]} is intact" if saved else "no checkpoint was saved yet"
        way_out = "free some space" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "see to the folder"
        told = f"{folder.path} cannot be written to: {error.strerror or error}; {intact}."
        raise RnnstudyError(f"{told} Once you {way_out}, the same command goes on.") from error


@contextmanager
def advise_on_misfit(folder: RunFolder) -> Iterator[None]:
    """Turn an error caused by an intact checkpoint of another run into a RnnstudyError; other errors stay."""
    try:
        yield
    except Exception as error:
        if isinstance(error, RnnstudyError | OSError) or _is_about_memory(error):
            raise
        told = f"{folder.checkpoints}: the last checkpoint is not one of this run ({type(error).__name__})."
        way_out = "Remove it to go back to the one before, or move the run folder away to run it anew."
        raise RnnstudyError(f"{told} {way_out}") from error
