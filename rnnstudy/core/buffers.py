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

SMALLEST = 1 << 16
"""Bytes from which a buffer is kept; the allocators keep smaller ones by themselves."""


class _Pool:
    """Blocks of memory that no tensor uses any more."""

    def __init__(self) -> None:
        self._free: list[Tensor] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> Tensor:
        """Find the smallest free block of at least `size` bytes, or make one.

        One that is more than twice as large does not count. When none fits, the sizes have changed and all free
        blocks go back to the system: what is held here never exceeds what one step needed.

        Returns:
            A block of bytes.
        """
        with self._lock:
            fitting = [block for block in self._free if size <= len(block) <= 2 * size]
            if fitting:
                best = min(fitting, key=len)
                self._free = [block for block in self._free if block is not best]
                return best
            self._free.clear()
        return torch.empty(size, dtype=torch.uint8)

    def give_back(self, block: Tensor) -> None:
        """Take a block back; called when the last tensor that looks into it is gone."""
        with self._lock:
            self._free.append(block)


_POOL = _Pool()


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """Make an uninitialised tensor with the dtype and device of `like`, in memory that was used before if possible.

    Returns:
        The tensor. Its memory is used again only after it and everything that shares its storage are gone.
    """
    size = prod(shape) * like.element_size()
    if like.device.type != "cpu" or size < SMALLEST:
        return like.new_empty(shape)
    block = _POOL.take(size)
    # The storage made from this array holds the array; the array's end is the storage's end.
    view = block.numpy()[:size]
    weakref.finalize(view, _POOL.give_back, block).atexit = False
    return torch.from_numpy(view).view(like.dtype).view(shape)
