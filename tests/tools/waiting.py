"""Waiting for what has to come, and not for a time to pass."""

import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

PATIENCE = 300.0
"""Seconds after which something is taken not to come any more: however busy the machine is, it would have."""

T = TypeVar("T")


def until(condition: Callable[[], T], process: subprocess.Popen[Any] | None = None) -> T:
    """Wait until a condition holds, or a process has ended.

    Returns:
        What the condition gave at last.
    """
    end = time.monotonic() + PATIENCE
    while not (found := condition()) and (process is None or process.poll() is None):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)
    return found
