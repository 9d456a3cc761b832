"""A real TensorBoard, started as `rnnstudy board` starts it, and questions to it over HTTP."""

import json
import queue
import re
import signal
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.waiting import PATIENCE, until


class Board:
    """A TensorBoard that is running.

    Args:
        process: Tells its address.
        last: What the last line says that it prints by itself.
    """

    def __init__(self, process: subprocess.Popen[str], last: str) -> None:
        """Read until the last line."""
        self.process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.said: list[str] = []
        while not self.said or last not in self.said[-1]:
            self.said.append(self._lines.get(timeout=PATIENCE))
            assert self.said[-1], f"it has ended: {''.join(self.said)}"
        self.links = [word for line in self.said for word in line.split() if word.startswith("http://")]
        self.address = self.links[0]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def rest(self) -> list[str]:
        """What it has said after the last line, once it has ended."""
        self._reader.join(PATIENCE)
        return [self._lines.get() for _ in range(self._lines.qsize())]

    def get(self, route: str, **query: str) -> Any:
        """What a route answers, from JSON; NaN is none."""
        question = f"?{urllib.parse.urlencode(query)}" if query else ""
        with urllib.request.urlopen(f"{self.address}{route}{question}") as answer:
            return json.loads(answer.read(), parse_constant=_refuse)

    def post(self, route: str, content: bytes, kind: str) -> Any:
        """The same of a question too long for an address."""
        question = urllib.request.Request(f"{self.address}{route}", content, {"Content-Type": kind})
        with urllib.request.urlopen(question) as answer:
            return json.loads(answer.read(), parse_constant=_refuse)

    def leads_to(self, path: str) -> str:
        """The address that a short one goes on to."""
        with urllib.request.urlopen(f"{self.address}{path}") as answer:
            found = re.search(r"location\.replace\((.*)\)", answer.read().decode())
        assert found is not None
        return urllib.parse.urljoin(self.address, json.loads(found[1]))

    def get_when(self, route: str, part: str, **query: str) -> Any:
        """What a route answers once it holds `part`: the logs are read bit by bit."""

        def answer() -> Any:
            found = self.get(route, **query)
            return found if part in json.dumps(found) else None

        return until(answer)


@contextmanager
def started(folder: Path, *options: str, port: int | None = 0) -> Iterator[Board]:
    """`rnnstudy board`, stopped at the end."""
    command = [sys.executable, "-m", "rnnstudy", "board", str(folder), *options]
    command += [] if port is None else ["--port", str(port)]
    with _running(command, last="Ctrl-C stops TensorBoard.") as board:
        yield board


@contextmanager
def tensorboard(folder: Path, *options: str) -> Iterator[Board]:
    """TensorBoard itself, stopped at the end."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "localhost", "--port", "0"]
    with _running([*command, *options], last="Press CTRL+C to quit") as board:
        yield board


@contextmanager
def _running(command: list[str], last: str) -> Iterator[Board]:
    # What a shell puts into the background is deaf to Ctrl-C, and children inherit that.
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    signal.signal(signal.SIGINT, previous)
    with process:
        try:
            yield Board(process, last)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
