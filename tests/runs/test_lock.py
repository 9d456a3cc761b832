"""The lock of a run, with real processes: who gets it, when it is free again, and what others can tell of it."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tools.waiting import until

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.lock import HeldError, Holder, Lock, holder_of, left_behind

BEAT = 0.05
"""Seconds between beats here; nobody has to wait for long."""

ANOTHER_HOST = "another-host"

HOLD = f"""
from rnnstudy.runs.lock import HeldError, Lock
lock = Lock(path, lambda: {{"step": 7}}, every={BEAT})
try:
    lock.acquire()
except HeldError as error:
    print("held by", error.holder.pid, flush=True)
else:
    print("acquired", flush=True)
    sys.stdin.readline()
    print("lost" if lock.lost else "kept", flush=True)
    lock.release()
"""

# The kernel itself refuses flock from then on, as on a file system that has none: Linux's seccomp, on x86-64.
WITHOUT_KERNEL_LOCKS = """
import ctypes, errno, platform, struct
assert platform.machine() == "x86_64"
LOAD, EQUAL, RETURN, FLOCK, REFUSE, ALLOW = 0x20, 0x15, 0x06, 73, 0x00050000, 0x7FFF0000
code = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, FLOCK), (RETURN, 0, 0, REFUSE | errno.ENOLCK), (RETURN, 0, 0, ALLOW)]
program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in code))
whole = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(program)))
c = ctypes.CDLL(None, use_errno=True)
assert c.prctl(38, 1, 0, 0, 0) == 0, "no_new_privs"
assert c.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(whole)), 0, 0) == 0, "seccomp"
"""

needs_seccomp = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64",
    reason="the kernel is told to refuse locks by Linux's seccomp, with x86-64's numbers",
)


def can_rename_a_host() -> bool:
    try:
        return not subprocess.run(["unshare", "-u", "hostname", ANOTHER_HOST], capture_output=True).returncode
    except FileNotFoundError:
        return False


CAN_RENAME_A_HOST = can_rename_a_host()

needs_another_host = pytest.mark.skipif(not CAN_RENAME_A_HOST, reason="a host of another name needs unshare and root")


class Process:
    """A Python process that is told what to do, and tells what it did."""

    def __init__(self, code: str, path: Path, host: str | None = None) -> None:
        command = [sys.executable, "-c", f"import sys, pathlib\npath = pathlib.Path({str(path)!r})\n{code}"]
        if host is not None:
            command = ["unshare", "-u", "sh", "-c", f'hostname {host} && exec "$@"', "sh", *command]
        self.popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def told(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()

    def tell(self, line: object = "") -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{line}\n")
        self.popen.stdin.flush()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    """Starts processes that do not outlive the test."""
    processes: list[Process] = []

    def begin(code: str, path: Path, host: str | None = None) -> Process:
        processes.append(Process(code, path, host))
        return processes[-1]

    yield begin
    for process in processes:
        with process.popen:
            process.popen.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a study" / ".rnnstudy" / "locks" / "1a2b3c4d"


def beats(path: Path) -> int:
    """Count the beats of the holder of a lock."""
    holder = holder_of(path)
    return 0 if holder is None else holder.beat


def write(path: Path, *, host: str = ANOTHER_HOST, pid: int = 1, beat: int = 3, every: float = BEAT) -> None:
    """Write what a holder on another machine would, whose kernel's lock is not seen here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"host": host, "pid": pid, "since": "2026-01-02T03:04:05+00:00", "every": every, "beat": beat, "state": {}}
    path.write_text(json.dumps(about))


def test_a_lock_is_there_while_it_is_held_and_gone_after(path: Path) -> None:
    with Lock(path, lambda: {"step": 12}) as lock:
        assert path.exists()
        holder = holder_of(path)
        assert holder is not None
        assert (holder.host, holder.pid, holder.state) == (socket.gethostname(), os.getpid(), {"step": 12})
        assert left_behind(path) is None
        assert not lock.lost
    assert not path.exists()
    assert holder_of(path) is None
    assert left_behind(path) is None


def test_the_error_names_who_holds_it_and_survives_the_way_between_processes(path: Path, start) -> None:
    process = start(HOLD, path)
    assert process.told() == "acquired"
    with pytest.raises(HeldError) as raised:
        Lock(path).acquire()
    for error in (raised.value, pickle.loads(pickle.dumps(raised.value))):
        assert error.holder.pid == process.popen.pid
        assert f"process {process.popen.pid} on {socket.gethostname()}" in str(error)
        assert str(path) in str(error)


RACE = """
import time
from rnnstudy.runs.lock import HeldError, Lock
print("ready", flush=True)
won = 0
for _ in range(12):
    begin, done = float(sys.stdin.readline()), False
    lock = Lock(path, every=5.0)
    while time.monotonic() < begin:
        pass
    try:
        lock.acquire()
        done = True
    except HeldError:
        pass
    print("won" if done else "refused", flush=True)
    sys.stdin.readline()
    lock.release()
    print("released", flush=True)
"""


@pytest.mark.slow
def test_of_two_processes_that_race_exactly_one_wins(path: Path, start) -> None:
    racers = [start(RACE, path), start(RACE, path)]
    assert [racer.told() for racer in racers] == ["ready"] * 2
    for repeat in range(12):
        # What a dead process has left may not let both in either.
        if repeat % 2:
            write(path, host=socket.gethostname(), pid=999_999_999)
        begin = time.monotonic() + 0.02
        for racer in racers:
            racer.tell(begin)
        assert sorted(racer.told() for racer in racers) == ["refused", "won"]
        for racer in racers:
            racer.tell()
        assert [racer.told() for racer in racers] == ["released"] * 2


COUNT = """
from rnnstudy.runs import lock as module
from rnnstudy.runs.lock import HeldError, Lock
module._TRIES, module._SECONDS_BETWEEN_TRIES = 1, 0.0  # as often as can be: two meet where few instructions matter
counter, done = path.with_name("counter"), 0
print("ready", flush=True)
sys.stdin.readline()
while done < 1000:
    lock = Lock(path, every=5.0)
    try:
        lock.acquire()
    except HeldError:
        continue
    number = int(counter.read_text())
    counter.write_text(str(number + 1))
    lock.release()
    done += 1
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_lock_that_is_released_and_taken_all_the_time_is_never_held_twice(path: Path, start) -> None:
    path.parent.mkdir(parents=True)
    counter = path.with_name("counter")
    counter.write_text("0")
    processes = [start(COUNT, path) for _ in range(3)]
    assert [process.told() for process in processes] == ["ready"] * 3
    for process in processes:
        process.tell()
    assert [process.told() for process in processes] == ["done"] * 3
    assert counter.read_text() == "3000"
    assert not path.exists()


def test_a_killed_holder_frees_it_at_once_and_is_named(path: Path, start, monkeypatch) -> None:
    process = start(HOLD, path)
    assert process.told() == "acquired"
    assert holder_of(path) is not None
    process.kill()
    dead = left_behind(path)
    assert dead is not None
    assert (dead.pid, dead.host, dead.state) == (process.popen.pid, socket.gethostname(), {"step": 7})
    assert holder_of(path) is None
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    with Lock(path):
        assert slept == []
    assert left_behind(path) is None


FORK = f"""
import os, time
from rnnstudy.runs.lock import Lock
lock = Lock(path, every={BEAT})
lock.acquire()
if os.fork() == 0:
    IN_THE_CHILD
    print("forked", os.getpid(), flush=True)
    time.sleep(600)
    os._exit(0)
sys.stdin.readline()
lock.release()
print("released", flush=True)
"""


@pytest.mark.parametrize("in_the_child", ["pass", "lock.release()"])
def test_a_fork_neither_releases_the_lock_nor_keeps_it_alive(path: Path, start, in_the_child: str) -> None:
    process = start(FORK.replace("IN_THE_CHILD", in_the_child), path)
    child = int(process.told().removeprefix("forked "))
    try:
        holder = holder_of(path)
        assert holder is not None
        assert holder.pid == process.popen.pid
        process.kill()
        assert holder_of(path) is None
        with Lock(path):
            os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_program_started_by_the_holder_does_not_keep_the_lock(path: Path, start) -> None:
    code = HOLD.replace("sys.stdin.readline()", "import os; os.execvp('sleep', ['sleep', '600'])")
    process = start(code, path)
    assert process.told() == "acquired"
    until(lambda: holder_of(path) is None)
    assert process.popen.poll() is None


def test_others_see_what_the_holder_tells_and_that_it_beats(path: Path) -> None:
    step = 0

    def describe() -> dict[str, int]:
        return {"step": step}

    with Lock(path, describe, every=BEAT):
        first = holder_of(path)
        assert first is not None
        step = 5
        until(lambda: (now := holder_of(path)) is not None and now.state == {"step": 5} and now.beat > first.beat + 1)


def told_badly(kind: str) -> dict[str, object]:
    if kind == "raises":
        raise KeyError("no step yet")
    return {"step": object()} if kind == "is no JSON" else {"step": "x" * 5000}


@pytest.mark.parametrize("kind", ["raises", "is no JSON", "is too long"])
def test_nothing_that_is_told_ends_the_beat(path: Path, kind: str) -> None:
    with Lock(path, lambda: told_badly(kind), every=BEAT) as lock:
        until(lambda: (now := holder_of(path)) is not None and now.beat > 2 and now.state == {})
        assert not lock.lost


def test_a_lock_whose_file_is_removed_is_lost_and_leaves_the_next_one_alone(path: Path, start) -> None:
    until_lost = "import time\n    while not lock.lost: time.sleep(0.01)"
    process = start(HOLD.replace("sys.stdin.readline()", until_lost), path)
    assert process.told() == "acquired"
    path.unlink()
    with Lock(path, every=BEAT) as lock:
        assert process.told() == "lost"
        process.popen.wait()
        seen = beats(path)
        until(lambda: beats(path) > seen)
        holder = holder_of(path)
        assert holder is not None
        assert holder.pid == os.getpid()
        assert not lock.lost


def test_a_lock_that_another_machine_has_taken_too_is_lost_and_left_to_it(path: Path) -> None:
    with Lock(path, every=BEAT) as lock:
        # The file is the same, the kernel's lock was not shared, and the other wrote later.
        until(lambda: beats(path) > 1)
        with path.open("r+b") as file:
            other = {"host": ANOTHER_HOST, "pid": 1, "since": "", "every": 60.0, "beat": 1, "state": {}}
            file.write(json.dumps(other).encode().ljust(4096))
        until(lambda: lock.lost)
    holder = holder_of(path)
    assert holder is not None
    assert holder.host == ANOTHER_HOST


@needs_another_host
def test_a_holder_on_another_host_is_named(path: Path, start) -> None:
    process = start(HOLD, path, ANOTHER_HOST)
    assert process.told() == "acquired"
    with pytest.raises(HeldError, match=f"process {process.popen.pid} on {ANOTHER_HOST}"):
        Lock(path, every=BEAT).acquire()


@needs_another_host
def test_a_holder_that_died_on_another_host_is_waited_for_and_then_replaced(path: Path, start) -> None:
    process = start(HOLD, path, ANOTHER_HOST)
    assert process.told() == "acquired"
    process.kill()
    begin = time.monotonic()
    with Lock(path, every=BEAT) as lock:
        # 4 beats of 0.05 s without a change.
        assert time.monotonic() - begin >= 0.2
        holder = holder_of(path)
        assert holder is not None
        assert holder.host == socket.gethostname()
        until(lambda: beats(path) > 3)
        assert not lock.lost


@contextmanager
def beating(path: Path) -> Iterator[None]:
    """Imitate a holder on another machine, whose kernel's lock is not seen here, and whose clock is a year behind.

    It beats far more often than it says, so that a busy machine does not make it look dead.
    """
    code = f"""
import json, os, time
beat = 0
while True:
    beat += 1
    about = {{"host": {ANOTHER_HOST!r}, "pid": 1, "since": "x", "every": 10.0, "beat": beat, "state": {{}}}}
    path.write_text(json.dumps(about).ljust(4095))
    os.utime(path, (time.time() - 3e7,) * 2)
    print(beat, flush=True) if beat == 1 else None
    time.sleep({BEAT})
"""
    path.parent.mkdir(parents=True)
    process = Process(code, path)
    try:
        assert process.told() == "1"
        yield
    finally:
        process.kill()
        process.popen.communicate()


def test_a_holder_that_beats_is_left_alone_without_the_kernels_lock_and_whatever_the_clocks_say(path: Path) -> None:
    with beating(path), pytest.raises(HeldError, match=ANOTHER_HOST):
        Lock(path, every=BEAT).acquire()


def test_what_another_host_wrote_a_moment_ago_counts_as_held_and_what_is_old_as_left_behind(path: Path) -> None:
    write(path, every=10.0)
    assert (holder_of(path) is not None, left_behind(path) is not None) == (True, False)
    os.utime(path, (time.time() - 41, time.time() - 41))
    assert (holder_of(path) is not None, left_behind(path) is not None) == (False, True)
    # A clock that went backwards.
    os.utime(path, (time.time() + 3600, time.time() + 3600))
    holder = holder_of(path)
    assert holder is not None
    assert holder.heard == 0


@needs_seccomp
def test_without_kernel_locks_a_holder_is_respected_and_replaced_once_dead(path: Path, start) -> None:
    # Its beats must be seen, however busy the machine.
    slowly = WITHOUT_KERNEL_LOCKS + HOLD.replace(f"every={BEAT}", "every=0.5")
    first = start(slowly, path)
    assert first.told() == "acquired"
    second = start(slowly, path)
    assert second.told() == f"held by {first.popen.pid}"
    first.kill()
    third = start(WITHOUT_KERNEL_LOCKS + HOLD, path)
    assert third.told() == "acquired"
    third.tell()
    assert third.told() == "kept"
    third.popen.wait()
    assert not path.exists()


@needs_seccomp
def test_who_only_looks_is_told_what_the_file_says_where_the_kernel_does_not_answer(path: Path) -> None:
    write(path, host=ANOTHER_HOST, pid=5, every=100.0)
    code = WITHOUT_KERNEL_LOCKS.replace("errno.ENOLCK", "errno.EIO")
    code += "import pathlib, sys\nfrom rnnstudy.runs.lock import holder_of\n"
    code += "print(holder_of(pathlib.Path(sys.argv[1])).pid)"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("5\n", 0), done.stderr


@needs_seccomp
def test_without_kernel_locks_a_dead_process_of_this_host_is_not_waited_for(path: Path, start) -> None:
    write(path, host=socket.gethostname(), pid=999_999_999, every=100.0)
    code = "import time\nslept = []\ntime.sleep = slept.append\n" + HOLD.replace('"acquired"', '"acquired", slept')
    # A moment, to see whether somebody else takes it too.
    assert start(WITHOUT_KERNEL_LOCKS + code, path).told() == "acquired [0.3]"


@needs_seccomp
def test_without_kernel_locks_a_process_that_got_the_number_of_a_dead_one_holds_nothing(path: Path, start) -> None:
    write(path, host=socket.gethostname(), pid=os.getpid())
    process = start(WITHOUT_KERNEL_LOCKS + HOLD, path)
    assert process.told() == "acquired"


@pytest.mark.slow
@needs_seccomp
def test_without_kernel_locks_one_of_two_that_race_wins(path: Path, start) -> None:
    race = RACE.replace("range(12)", "range(6)")
    racers = [start(WITHOUT_KERNEL_LOCKS + race, path) for _ in range(2)]
    assert [racer.told() for racer in racers] == ["ready"] * 2
    for _ in range(6):
        begin = time.monotonic() + 0.02
        for racer in racers:
            racer.tell(begin)
        assert sorted(racer.told() for racer in racers) == ["refused", "won"]
        for racer in racers:
            racer.tell()
        assert [racer.told() for racer in racers] == ["released"] * 2


READ_ONLY = """
import ctypes
from rnnstudy.core.errors import RnnstudyError
from rnnstudy.runs.lock import Lock
c = ctypes.CDLL(None)
folder = str(path.parent).encode()
assert c.mount(folder, folder, None, 4096, None) == 0
assert c.mount(folder, folder, None, 4096 | 32 | 1, None) == 0
try:
    Lock(path).acquire()
except RnnstudyError as error:
    print(error, flush=True)
"""


@pytest.mark.skipif(not CAN_RENAME_A_HOST, reason="a read-only mount needs unshare and root")
def test_a_read_only_file_system_is_named(path: Path) -> None:
    path.parent.mkdir(parents=True)
    code = f"import pathlib\npath = pathlib.Path({str(path)!r})\n{READ_ONLY}"
    done = subprocess.run(["unshare", "-m", sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no mount is allowed here: {done.stderr.splitlines()[-1]}")
    assert done.stdout == f"{path.parent} cannot be written to: Read-only file system.\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_a_folder_without_the_right_to_write_is_named(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.parent.chmod(0o500)
    try:
        with pytest.raises(RnnstudyError, match=f"{path.parent} cannot be written to: Permission denied"):
            Lock(path).acquire()
    finally:
        path.parent.chmod(0o700)


def test_a_file_in_the_place_of_the_folder_is_named(path: Path) -> None:
    path.parent.parent.mkdir(parents=True)
    path.parent.write_text("")
    with pytest.raises(RnnstudyError, match=f"{path.parent} cannot be written to: File exists"):
        Lock(path).acquire()


def test_a_link_in_the_place_of_a_lock_is_not_written_through(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    path.symlink_to(precious)
    with pytest.raises(RnnstudyError, match="cannot be written to"):
        Lock(path).acquire()
    assert holder_of(path) is None
    assert precious.read_text() == "precious"


def test_a_pipe_in_the_place_of_a_lock_does_not_make_who_looks_wait(path: Path) -> None:
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert (holder_of(path), left_behind(path)) == (None, None)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b"[" * 4096,
        b'{"host": "x"}',
        b'{"host": "x", "pid": 1e999, "since": "", "every": 2, "beat": 1, "state": {}}',
    ],
    ids=["empty", "no text", "a list", "deep", "incomplete", "infinite"],
)
def test_a_file_that_says_nothing_is_nobodys(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert (holder_of(path), left_behind(path)) == (None, None)
    with Lock(path, every=BEAT):
        assert isinstance(holder_of(path), Holder)
