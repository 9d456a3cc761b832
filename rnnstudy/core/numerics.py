"""The numerics policy of a run: threads, subnormal numbers, TF32, determinism."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from rnnstudy.core.errors import ConfigError, require_at_least


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """Numerical settings, recorded with the run.

    Args:
        threads: CPU threads inside one operation. One is fastest at the sizes studied here.
        flush_subnormals: Treat subnormal numbers as zero on the CPU: a vanishing run is several times faster.
        tf32: Allow TF32 matrix products on CUDA.
    """

    threads: int = 1
    flush_subnormals: bool = True
    tf32: bool = False

    def __post_init__(self) -> None:
        require_at_least("threads", self.threads, 1)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Apply the policy in the calling thread, and then restore the earlier one (subnormals: torch's default)."""
        threads = torch.get_num_threads()
        tf32 = torch.backends.cuda.matmul.allow_tf32
        torch.set_num_threads(self.threads)
        torch.set_flush_denormal(self.flush_subnormals)
        torch.backends.cuda.matmul.allow_tf32 = self.tf32
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(False)
            torch.backends.cuda.matmul.allow_tf32 = tf32


def free_bytes(device: torch.device) -> float:
    """Return the memory that a device has left, in bytes; infinite where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    return math.inf


def require_device_name(name: str) -> None:
    """Raise ConfigError unless the name is "cpu", "cuda", "cuda:N" or "auto"."""
    kind, _, index = name.partition(":")
    if name != "auto" and (kind not in {"cpu", "cuda"} or (index and not index.isdecimal())):
        raise ConfigError(f"device must be cpu, cuda, cuda:N or auto, got '{name}'.")


def select_device(name: str) -> torch.device:
    """Return the device "cpu", "cuda", "cuda:N" or "auto" (CUDA if any); raise ConfigError if it does not exist."""
    require_device_name(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={name} asks for CUDA, but torch finds no CUDA device here; run with device=cpu.")
    if kind == "cuda" and int(index or 0) >= (count := torch.cuda.device_count()):
        raise ConfigError(f"device={name} asks for CUDA device {index}, but there are {count}; the first is cuda:0.")
    return torch.device(name)
