"""Whether a run has anything left to do, and locks left behind by dead processes."""

from rnnstudy.runs import failure
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.lock import HeldError, Lock, holder_of, left_behind

MOST_DEATHS = 2
"""Deaths of its process after which a run counts as failed; it is retried alone where runs share processes."""


def is_settled(folder: RunFolder) -> bool:
    """Return whether a folder needs nothing done: its run is finished, failed, or another process does it."""
    return folder.is_finished or folder.failure.exists() or holder_of(folder.lock) is not None


def bury(folder: RunFolder, *, is_last: bool) -> None:
    """Remove the lock of a dead process, and record the run as failed if it will not be retried."""
    dead = left_behind(folder.lock)
    try:
        with Lock(folder.lock):
            if is_last and dead is not None:
                text = f"its process ({dead.pid} on {dead.host}) died {MOST_DEATHS} times: killed, perhaps for memory"
                failure.record(folder, text)
    except HeldError:
        pass


def clear_lock(folder: RunFolder) -> None:
    """Remove the lock of a process that died before this sweep."""
    if left_behind(folder.lock) is not None:
        bury(folder, is_last=False)
