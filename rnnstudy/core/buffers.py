"""Large CPU buffers that are used again.

Memory that is fresh from the operating system is paid for at the first touch of every page. A training step asks for
the same few large buffers as the step before, so what the last one no longer uses is handed out again.
"""

import threading
import weakref
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

SMALLEST = 1 << 17
"""Bytes from which a buffer is kept; the allocators keep smaller ones by themselves."""

SLACK = 1.25
"""Held at most: this times what was in use at once at the most."""


class _Pool:
    """Blocks of memory that no tensor uses any more, the one given back last at the end."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._in_use = self._most = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> Tensor:
        """Return the smallest free block of at least `size` bytes and at most twice as many, or make one."""
        with self._lock:
            fitting = [block for block in self._free if size <= len(block) <= 2 * size]
            found = min(fitting, key=len) if fitting else None
            self._free = [block for block in self._free if block is not found]
            self._in_use += size if found is None else len(found)
            self._most = max(self._most, self._in_use)
            if found is not None:
                return found
            held = self._in_use + sum(map(len, self._free))
            while self._free and held > SLACK * self._most:
                held -= len(self._free.pop(0))
        return torch.empty(size, dtype=torch.uint8, device="cpu")

    def give_back(self, block: Tensor) -> None:
        """Take a block back; called when the last tensor that looks into it is gone."""
        with self._lock:
            self._in_use -= len(block)
            self._free.append(block)


_POOL = _Pool()


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return an uninitialised tensor with the dtype and device of `like`, in memory that was used before if possible.

    Its memory is used again only after it and everything that shares its storage are gone.
    """
    size = prod(shape) * like.element_size()
    if like.device.type != "cpu" or size < SMALLEST:
        return like.new_empty(shape)
    block = _POOL.take(size)
    # The storage made from this array holds the array; the array's end is the storage's end.
    view = block.numpy()[:size]
    weakref.finalize(view, _POOL.give_back, block).atexit = False
    return torch.from_numpy(view).view(like.dtype).view(shape)
