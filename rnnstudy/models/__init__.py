"""Networks built from recurrences; one file per network."""

from pathlib import Path

from rnnstudy.core.lazy import find_exports, lazy

__getattr__, __dir__ = lazy(__name__, lambda: find_exports(__name__, Path(__file__).parent))
