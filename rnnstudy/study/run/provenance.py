"""Provenance of a run: versions, commit, machine."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

import rnnstudy


def versions() -> dict[str, str]:
    """Return the versions of the software that computes a run."""
    packages = {package: version(package) for package in ("torch", "numpy", "tensorboard", "hydra-core")}
    return {"rnnstudy": rnnstudy.__version__, "python": platform.python_version(), **packages}


def commit() -> str | None:
    """Return the commit of the checkout this package runs from, "-dirty" appended if changed; None outside of one."""
    root = Path(rnnstudy.__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        changes = _git(root, "status", "--porcelain", "--", "rnnstudy", "conf")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}-dirty" if changes else head


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def device_name(device: torch.device) -> str:
    """Return the name of a device for people."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{device} ({name})"
