"""Processes that begin at once: forks of one that has imported everything. They are as real, and as easily killed."""

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class Zygote:
    """Starts commands of rnnstudy in forks of itself."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).resolve())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._told() == "ready"

    def _told(self):
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def start(self, arguments: Sequence[str], output: Path) -> int:
        """Start a command.

        Returns:
            Its process.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([list(arguments), str(output)]) + "\n")
        self._process.stdin.flush()
        return self._told()

    def wait(self) -> int:
        """Wait until the command that was started last has ended.

        Returns:
            Its exit code; minus the signal that killed it.
        """
        assert self._process.stdin is not None
        self._process.stdin.write("null\n")
        self._process.stdin.flush()
        return self._told()

    def run(self, arguments: Sequence[str], output: Path) -> int:
        """Start a command, and wait until it has ended."""
        self.start(arguments, output)
        return self.wait()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def zygote() -> Iterator[Zygote]:
    """A zygote, until the end of the `with` block."""
    started = Zygote()
    try:
        yield started
    finally:
        started.close()


def _serve() -> None:
    import torch

    torch.set_num_threads(1)
    import rnnstudy.study.sweep.execute
    from rnnstudy.cli.main import main

    assert rnnstudy.study.sweep.execute is not None
    answers = os.fdopen(os.dup(1), "w")

    def answer(content: object) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    answer("ready")
    child = 0
    for line in sys.stdin:
        asked = json.loads(line)
        if asked is None:
            answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            continue
        arguments, output = asked
        child = os.fork()
        if child == 0:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            os.dup2(file, 1)
            os.dup2(file, 2)
            code = 99
            try:
                code = main(arguments)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        answer(child)


if __name__ == "__main__":
    _serve()
