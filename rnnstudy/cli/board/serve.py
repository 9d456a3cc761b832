"""`rnnstudy board`: TensorBoard with the settings that gradients through time call for."""

import io
import json
import shlex
import signal
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from rnnstudy.cli.board.hosts import LOOPBACK, is_loopback, require_own, with_known_hosts
from rnnstudy.cli.board.links import BoardView
from rnnstudy.cli.board.pages import MOST_TICKED, MOST_TICKED_ELSEWHERE, THROUGH_TIME, Application, with_short_addresses
from rnnstudy.core.errors import RnnstudyError, require_between
from rnnstudy.core.text import printable

SAMPLES = "scalars=100000,images=1000,histograms=100000,text=100"
"""Entries kept per tag: more than a run writes, as TensorBoard's own choice drops most images of a long run. Its help
says that 0 keeps all, but its fast data server then keeps no scalars at all."""

PATIENCE = 3.0
"""Seconds to wait for TensorBoard to read the next run."""

REFRESH = 5.0
"""Seconds between two looks for new runs, at least; TensorBoard reads its files again as often."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where TensorBoard listens.

    Args:
        host: Name or address of this machine; by default it is reached from this machine alone.
        port: Port; None takes 6006, or the next free one; 0 any free one.
        allowed: Further names by which it may be asked, as of a proxy.
    """

    host: str = LOOPBACK
    port: int | None = None
    allowed: Sequence[str] = ()


def board(directory: Path, place: Place, console: Console) -> int:
    """Return 0 after running TensorBoard on the runs at any depth below a folder, until Ctrl-C or a signal to end.

    Raises:
        RnnstudyError: There is no such folder, it has nothing to show, or the host or the port cannot be used.
    """
    if place.port is not None:
        require_between("--port", place.port, 0, 65535)
    require_own(place.host)
    if not directory.is_dir():
        raise RnnstudyError(f"There is no folder '{directory}'. Runs are made by: rnnstudy train")
    with _stoppable(), tempfile.TemporaryDirectory(prefix="rnnstudy-board-") as temporary:
        # Its pages show the name of the folder they read.
        folder = Path(temporary, directory.resolve().name or "runs")
        folder.mkdir()
        view = BoardView(directory, folder, MOST_TICKED)
        if not view.runs and not view.sub_runs:
            raise RnnstudyError(f"'{directory}' holds no TensorBoard logs. Runs are made by: rnnstudy train")
        address = _start(view, folder, place)
        _wait_for(view, address)
        if not is_loopback(place.host):
            warning = "Whoever can reach this machine can read these runs: TensorBoard asks for no password."
            console.print(warning, soft_wrap=True)
        _tell(view, directory, address, console)
        pause = REFRESH
        while True:
            time.sleep(pause)
            begin = time.monotonic()
            view.refresh()
            # Thousands of runs take seconds to look through, which must remain a small part of the time.
            pause = max(REFRESH, 10 * (time.monotonic() - begin))
    return 0


def _tell(view: BoardView, directory: Path, address: str, console: Console) -> None:
    runs = "1 run" if len(view.runs) == 1 else f"{len(view.runs)} runs"
    lines = [f"TensorBoard shows {runs} below {shlex.quote(str(directory))}:", f"  {address}"]
    if view.sub_runs:
        lines.append(f"  {address.rstrip('/')}{THROUGH_TIME}  (gradients back through time, at chosen training steps)")
    if view.left_out:
        lines.append(f"  {view.left_out} sub-runs with gradients back through time are left out: choose fewer runs.")
    if len(view.runs) > MOST_TICKED:
        lines.append(f"  Of more than {MOST_TICKED} runs TensorBoard shows none at first: tick those you want to see.")
    elif len(view.runs) > MOST_TICKED_ELSEWHERE:
        elsewhere = "on pages other than Time Series tick those you want to see"
        lines.append(f"  Of more than {MOST_TICKED_ELSEWHERE} runs TensorBoard shows none at first: {elsewhere}.")
    lines.append("Ctrl-C stops TensorBoard.")
    for line in lines:
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def _start(view: BoardView, folder: Path, place: Place) -> str:
    """Start TensorBoard in a thread that ends with us, return its address; raise RnnstudyError if no port is free."""
    from tensorboard import program

    from rnnstudy.cli.board.columns import plugins

    def serve(application: Application, flags: Any) -> program.TensorBoardServer:
        pages = with_short_addresses(application, view)
        return listen(with_known_hosts(pages, place.host, place.allowed), flags)

    listen = program.with_port_scanning(program.WerkzeugServer)
    board = program.TensorBoard(plugins(), server_class=serve)
    arguments = ["--logdir", str(folder), "--host", place.host, "--samples_per_plugin", SAMPLES]
    arguments += [f"--window_title={folder.name}", *([] if place.port is None else ["--port", str(place.port)])]
    # TensorBoard advertises on stderr how to switch its data server off.
    said = io.StringIO()
    try:
        board.configure(["tensorboard", *arguments])
        with redirect_stderr(said):
            return board.launch()
    except program.TensorBoardServerException as error:
        raise RnnstudyError(f"{error.msg.strip()}; choose another port with --port.") from None


def _wait_for(view: BoardView, address: str) -> None:
    """Wait until the runs are read, or no more come: a page opened earlier would show nothing."""
    wanted, found = {*view.runs, *view.sub_runs}, 0
    end = time.monotonic() + PATIENCE
    while found < len(wanted) and time.monotonic() < end:
        time.sleep(0.1)
        with urllib.request.urlopen(f"{address}data/runs") as answer:
            count = len(wanted.intersection(json.load(answer)))
        if count > found:
            found, end = count, time.monotonic() + PATIENCE


@contextmanager
def _stoppable() -> Iterator[None]:
    """End the block in order on Ctrl-C, a signal to end or a closed terminal."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        # A second Ctrl-C must not interrupt the clean-up.
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    # Signals that nohup or a shell's background ignores stay ignored.
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handled = [each for each in wanted if signal.getsignal(each) != signal.SIG_IGN]
    previous = {each: signal.signal(each, stop) for each in handled}
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
