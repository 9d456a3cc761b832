"""Study how gradients vanish and explode in recurrent networks: train, watch, compare.

`import rnnstudy as rs` offers what a notebook uses: the functions of `rnnstudy.api`, the packages of the members, and a
few classes beside them. Each is imported when it is first used.
"""

from pathlib import Path

from rnnstudy.core.lazy import find_exports, lazy

__version__ = "0.1.0"

KINDS = ("inits", "instruments", "mitigations", "models", "schedules", "tasks")
"""Packages of members: each class in them is an attribute, such as `rnnstudy.tasks.Adding`."""

BESIDE = ("core.errors:ConfigError", "core.errors:RnnstudyError", "core.schedule:At", "core.schedule:Every")
"""Further public classes: errors to catch, and the schedules of instruments."""


def find_public() -> dict[str, str]:
    """Return the public names and their places, such as "rnnstudy.models" or "rnnstudy.api.build:build"."""
    found = {kind: f"{__name__}.{kind}" for kind in KINDS}
    found |= {place.partition(":")[2]: f"{__name__}.{place}" for place in BESIDE}
    return found | find_exports(f"{__name__}.api", Path(__file__).parent / "api")


__getattr__, __dir__ = lazy(__name__, find_public)
