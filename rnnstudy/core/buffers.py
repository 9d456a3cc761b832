"""Large CPU buffers that are reused.

The first touch of every page of fresh memory is expensive. A training step needs the same few large buffers as the
step before, so a pool hands out again what that step released.
"""

import threading
import weakref
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

SMALLEST = 1 << 17
"""Smallest buffer in bytes that the pool keeps; the allocators keep smaller ones themselves."""

SLACK = 1.25
"""Largest memory held, as a multiple of the most that was in use at once."""


class _Pool:
    """Blocks of memory that no tensor uses any more, the last returned at the end."""

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
        """Take a block back, once the last tensor that uses it is gone."""
        with self._lock:
            self._in_use -= len(block)
            self._free.append(block)


_POOL = _Pool()


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return an uninitialised tensor with the dtype and device of `like`, if possible in memory that was used before.

    Its memory is reused only after it and everything that shares its storage are gone.
    """
    size = prod(shape) * like.element_size()
    if like.device.type != "cpu" or size < SMALLEST:
        return like.new_empty(shape)
    block = _POOL.take(size)
    # The storage made from this array holds the array; the array's end is the storage's end.
    view = block.numpy()[:size]
    weakref.finalize(view, _POOL.give_back, block).atexit = False
    return torch.from_numpy(view).view(like.dtype).view(shape)
