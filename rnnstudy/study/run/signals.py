"""Signals turned into a request to stop."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rnnstudy.core.errors import Interrupted

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Ctrl-C, what `kill` and a closing terminal send, and what clusters send before they take a job from its node."""


@contextmanager
def stop_requests(stop: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Turn signals into a request to stop after the step; a second Ctrl-C stops at once.

    Args:
        stop: Another reason to stop.

    Yields:
        Whether to stop, to be asked after every step.

    Raises:
        Interrupted: The run has stopped; tells the signal, if it was one.
        KeyboardInterrupt: Ctrl-C was pressed a second time.
    """
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    requested: list[int] = []

    def handle(number: int, frame: object) -> None:
        if requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        requested.append(number)

    # Under nohup a closing terminal is to be survived.
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    previous = {number: signal.signal(number, handle) for number in STOP_SIGNALS if number not in ignored}
    try:
        yield lambda: bool(requested) or stop()
    except Interrupted as interrupted:
        interrupted.signal = requested[0] if requested else None
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
