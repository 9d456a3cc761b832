"""Schedules of the learning rate during training; one file per schedule."""

from pathlib import Path

from rnnstudy.core.lazy import find_exports, lazy

__getattr__, __dir__ = lazy(__name__, lambda: find_exports(__name__, Path(__file__).parent))
