"""Signals turned into a request to stop."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rnnstudy.core.errors import Interrupted

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Ctrl-C, what `kill` and a closing terminal send, and what clusters send before they take a job from its node."""


@contextmanager
def handling(numbers: Iterable[signal.Signals], handle: Callable[[int, object], None]) -> Iterator[None]:
    """Handle signals until the end of the block; a closing terminal stays ignored where it was, as under nohup."""
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    previous = {number: signal.signal(number, handle) for number in numbers if number not in ignored}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def stop_requests(stop: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """Turn signals into a request to stop after the step; a second Ctrl-C stops at once.

    Yields:
        Whether to stop, on a signal or by `stop`; call it after every step.

    Raises:
        Interrupted: The run has stopped; `signal` is the number of the signal that stopped it, if any.
    """
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    requested: list[int] = []

    def handle(number: int, frame: object) -> None:
        if requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        requested.append(number)

    with handling(STOP_SIGNALS, handle):
        try:
            yield lambda: bool(requested) or stop()
        except Interrupted as interrupted:
            interrupted.signal = requested[0] if requested else None
            raise
