"""A lock that dies with its process, on local and on shared file systems.

It has two parts. The kernel's lock on the file (`flock`) ends with the process, however that ends. And the holder
rewrites the file every few seconds: where machines do not share the kernel's lock, these beats show that it lives. No
clocks of two machines are compared: a process in doubt watches for several beats.
"""

import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any
from weakref import WeakSet

from typing_extensions import override

from rnnstudy.core.errors import RnnstudyError

SECONDS_BETWEEN_BEATS = 2.0
SECONDS_BETWEEN_BEATS_ON_A_CLUSTER = 10.0
"""Longer, because many runs write to one file server there."""

BEATS_UNTIL_DEAD = 4
MOST_WATCHING = 60.0
"""Most seconds to wait for a beat before a holder on another machine counts as dead."""

_SAFELY = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""Flags for a folder from a stranger, which may hold a link or a pipe in place of a lock."""

_SIZE = 4096
"""Bytes of the file, all written at once, so that a reader sees one whole beat."""

_TRIES, _SECONDS_BETWEEN_TRIES = 8, 0.05
"""Retries: a process that only looks holds the kernel's lock for an instant."""

_SECONDS_UNTIL_WRITTEN = 0.3
_NO_KERNEL_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Holder of a lock, alive or dead.

    Args:
        host: Name of its machine.
        pid: Process id.
        since: When it took the lock, ISO 8601.
        heard: Seconds since its last beat, by the file's time; for display only.
        every: Seconds between its beats.
        beat: Number of its beats.
        state: What it reports about itself.
    """

    host: str
    pid: int
    since: str
    heard: float
    every: float = SECONDS_BETWEEN_BEATS
    beat: int = 0
    state: Mapping[str, Any] = field(default_factory=dict)


class HeldError(RnnstudyError):
    """Another process, `holder`, holds the lock at `path`."""

    def __init__(self, path: Path, holder: Holder) -> None:
        """Name the holder in the message."""
        by = f"process {holder.pid} on {holder.host} since {holder.since}"
        super().__init__(f"this run is being done by {by} (lock: {path})")
        self.path, self.holder = path, holder

    @override
    def __reduce__(self) -> tuple[type["HeldError"], tuple[Path, Holder]]:
        return type(self), (self.path, self.holder)


class LostError(RnnstudyError):
    """A lock was lost before its release: another process may hold it by now."""


class Lock:
    """Lock that is held from `acquire` to `release`, for a `with` block, or until the process dies.

    Args:
        path: Path of the file; a missing folder is made. `release` removes the file.
        describe: Returns what others may read about the holder, as JSON; called in a thread.
        every: Seconds between beats; None chooses.
    """

    def __init__(
        self, path: Path, describe: Callable[[], Mapping[str, Any]] = dict, *, every: float | None = None
    ) -> None:
        """Hold nothing yet."""
        on_cluster = "SLURM_JOB_ID" in os.environ
        default = SECONDS_BETWEEN_BEATS_ON_A_CLUSTER if on_cluster else SECONDS_BETWEEN_BEATS
        self._path, self._describe, self._every = path, describe, every or default
        self._file: int | None = None
        self._lost, self._released = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._beat, self._since = 0, ""
        # Kept, because a laptop may change its name.
        self._host = socket.gethostname()

    @property
    def lost(self) -> bool:
        """Whether it was lost before its release: its file is gone, another's, or cannot be written."""
        return self._lost.is_set()

    def acquire(self) -> None:
        """Take the lock; raise HeldError if another process holds it, RnnstudyError if the file cannot be made."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file, by_kernel = self._open_and_lock()
        except OSError as error:
            raise RnnstudyError(f"{self._path.parent} cannot be written to: {error.strerror}.") from None
        _held.add(self)
        self._lost.clear()
        self._released.clear()
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self._write()
            if not by_kernel:
                self._require_last()
        except OSError as error:
            self.release()
            raise RnnstudyError(f"{self._path} cannot be written to: {error.strerror}.") from None
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()

    def _require_last(self) -> None:
        """Raise HeldError unless this process wrote last: without kernel locks, several may take one file at once."""
        time.sleep(_SECONDS_UNTIL_WRITTEN)
        now = _read(self._path)
        if not self._is_mine():
            self._let_go()
            raise HeldError(self._path, now or _UNKNOWN)

    def _open_and_lock(self) -> tuple[int, bool]:
        """Return the locked file and whether the kernel locks here; raise HeldError, or OSError without a file."""
        for _ in range(_TRIES):
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | _SAFELY, 0o666)
            try:
                taken = _flock(file)
                if taken is not _Taken.BY_ANOTHER and _is_at(file, self._path):
                    self._require_nobody_elsewhere(taken)
                    kept, file = file, -1
                    return kept, taken is _Taken.HERE
            finally:
                if file >= 0:
                    os.close(file)
            time.sleep(_SECONDS_BETWEEN_TRIES)
        raise HeldError(self._path, _read(self._path) or _UNKNOWN)

    def _require_nobody_elsewhere(self, taken: "_Taken") -> None:
        """Watch a writer that the kernel cannot answer for until its state is sure; raise HeldError if it beats."""
        seen = _read(self._path)
        if seen is None or not _may_live(seen, taken):
            return
        end = time.monotonic() + min(BEATS_UNTIL_DEAD * seen.every, MOST_WATCHING)
        while time.monotonic() < end:
            time.sleep(min(seen.every / 4, 0.5))
            now = _read(self._path)
            if now is not None and (now.beat, now.pid, now.host) != (seen.beat, seen.pid, seen.host):
                raise HeldError(self._path, now)

    def _keep_beating(self) -> None:
        failed = 0
        # Where machines do not share the kernel's locks, two may take a free file at once; the last to write has it.
        wait = min(_SECONDS_UNTIL_WRITTEN, self._every)
        while not self._released.wait(wait):
            wait = self._every
            try:
                if not self._is_mine():
                    self._lost.set()
                    return
                self._write()
                failed = 0
            except OSError:
                failed += 1
                if failed >= BEATS_UNTIL_DEAD:
                    self._lost.set()

    def _is_mine(self) -> bool:
        """Return whether the file at the path is the one taken, and no other process has written to it."""
        if self._file is None or not _is_at(self._file, self._path):
            return False
        now = _read(self._path)
        return now is None or (now.host, now.pid) == (self._host, os.getpid())

    def _write(self) -> None:
        assert self._file is not None
        self._beat += 1
        about = {"host": self._host, "pid": os.getpid(), "since": self._since}
        about |= {"every": self._every, "beat": self._beat, "state": self._described()}
        line = json.dumps(about).encode()
        if len(line) >= _SIZE:
            line = json.dumps(about | {"state": {}}).encode()
        os.pwrite(self._file, line.ljust(_SIZE - 1) + b"\n", 0)

    def _described(self) -> Mapping[str, Any]:
        # An error in the description must not end the beat.
        with suppress(Exception):
            described = dict(self._describe())
            json.dumps(described)
            return described
        return {}

    def release(self) -> None:
        """Release the lock, and remove its file unless that is another's by now."""
        if self._file is None:
            return
        self._released.set()
        if self._thread is not None:
            # A beat must not be written to a file that is closed.
            self._thread.join()
        with suppress(OSError):
            if self._is_mine():
                self._path.unlink()
        self._let_go()

    def _let_go(self) -> None:
        """Close the file; closing its last descriptor ends the kernel's lock."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def __enter__(self) -> "Lock":
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        """Release the lock."""
        self.release()


def holder_of(path: Path) -> Holder | None:
    """Return the holder of a lock; None if it is free.

    For display, not for decisions: a holder on another machine, whose kernel's lock is perhaps not seen here, counts
    while its last beat is recent by the clock of this one. `Lock.acquire` compares no clocks.
    """
    seen, alive = _look(path)
    return seen if alive else None


def left_behind(path: Path) -> Holder | None:
    """Return the holder that died and left a lock behind; None if the lock was released, or is held."""
    seen, alive = _look(path)
    return None if alive else seen


def _look(path: Path) -> tuple[Holder | None, bool]:
    """Return what the file of a lock says, None if nothing was ever written to it, and whether its holder lives."""
    try:
        file = os.open(path, os.O_RDONLY | _SAFELY)
    except OSError:
        return None, False
    try:
        seen = _read(path)
        try:
            taken = _flock(file, shared=True)
        except OSError:
            # A file server that does not answer for a moment.
            taken = _Taken.UNKNOWN
        if taken is _Taken.BY_ANOTHER:
            return seen or _UNKNOWN, True
        if seen is None:
            return None, False
        return seen, _may_live(seen, taken) and seen.heard <= min(BEATS_UNTIL_DEAD * seen.every, MOST_WATCHING)
    finally:
        os.close(file)


_UNKNOWN = Holder(host="unknown", pid=0, since="a moment ago", heard=0.0)


def _read(path: Path) -> Holder | None:
    """Return the holder that the file of a lock describes; None if it describes none."""
    with suppress(OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        file = os.open(path, os.O_RDONLY | _SAFELY)
        try:
            content = json.loads(os.pread(file, _SIZE, 0))
            written = os.fstat(file).st_mtime
        finally:
            os.close(file)
        state = content["state"]
        return Holder(
            host=str(content["host"]),
            pid=int(content["pid"]),
            since=str(content["since"]),
            heard=max(0.0, time.time() - written),
            every=float(content["every"]),
            beat=int(content["beat"]),
            state=state if isinstance(state, dict) else {},
        )
    return None


class _Taken(Enum):
    """Answer of the kernel to a request for a lock."""

    HERE = auto()
    BY_ANOTHER = auto()
    UNKNOWN = auto()
    """This file system has no locks."""


def _flock(file: int, *, shared: bool = False) -> _Taken:
    """Request the kernel's lock on a file without waiting; raise OSError for any other fault of the file."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return _Taken.BY_ANOTHER
    except OSError as error:
        if error.errno not in _NO_KERNEL_LOCKS:
            raise
        return _Taken.UNKNOWN
    return _Taken.HERE


def _may_live(seen: Holder, taken: _Taken) -> bool:
    """Return whether the writer of a file may live though the kernel reports no lock."""
    if seen.host != socket.gethostname():
        return True
    # Another process may have its id by now; its beats decide.
    return taken is _Taken.UNKNOWN and is_alive(seen.pid)


def _is_at(file: int, path: Path) -> bool:
    """Return whether an open file still is the one at its path."""
    mine = os.fstat(file)
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def is_alive(pid: int) -> bool:
    """Return whether this machine has a process with this id."""
    try:
        with suppress(PermissionError):
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


_held: WeakSet[Lock] = WeakSet()


def _forget_all() -> None:
    """Close the locks in a fork: they are the parent's, and a copy of their files would outlive it."""
    for lock in _held:
        lock._let_go()


os.register_at_fork(after_in_child=_forget_all)
