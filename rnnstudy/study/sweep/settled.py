"""Whether there is anything left to do for a run, and locks left behind by processes that died."""

from rnnstudy.runs import failure
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.lock import HeldError, Lock, holder_of, left_behind

MOST_DEATHS = 2
"""A run whose process died is tried once more, alone where runs share processes, and then counts as failed."""


def is_settled(folder: RunFolder) -> bool:
    """Whether there is nothing to do in a run folder: the run is finished, failed, or another process does it."""
    return folder.is_finished or folder.failure.exists() or holder_of(folder.lock) is not None


def bury(folder: RunFolder, *, is_last: bool) -> None:
    """Remove the lock of a process that died, and count the run as failed if it is not to be tried again."""
    dead = left_behind(folder.lock)
    try:
        with Lock(folder.lock):
            if is_last and dead is not None:
                text = f"its process ({dead.pid} on {dead.host}) died {MOST_DEATHS} times: killed, perhaps for memory"
                failure.record(folder, text)
    except HeldError:
        pass


def clear_lock(folder: RunFolder) -> None:
    """Remove the lock that a process left behind which died before this sweep."""
    if left_behind(folder.lock) is not None:
        bury(folder, is_last=False)
