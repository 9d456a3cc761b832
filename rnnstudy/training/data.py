"""Batches of a run: each replica draws its own, and they are stacked."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from rnnstudy.core.seeding import make_generator, replica_generators
from rnnstudy.recurrence.base import States
from rnnstudy.tasks.base import Batch, Task, stack


def draw(task: Task, batch_size: int, generators: Sequence[torch.Generator], device: torch.device) -> Batch:
    """Sample a batch for every replica, each from its own generator, and stack them."""
    return stack([task.sample(batch_size, generator) for generator in generators]).to(device)


class TrainingData:
    """Batches to train on, one after the other, `batch_size` sequences per replica; replica r uses the seed `seed + r`.

    Where lengths vary, between the two of `seq_lens`, the length at step k depends on k alone: it is the same for all
    replicas and seeds. `task` has the greatest length.
    """

    def __init__(
        self, task: Task, seq_lens: tuple[int, int], *, batch_size: int, seed: int, replicas: int, device: torch.device
    ) -> None:
        """Make the generators; draw nothing yet."""
        self._task, self._seq_lens, self._batch_size, self._device = task, seq_lens, batch_size, device
        self._tasks = {seq_lens[1]: task}
        self._generators = replica_generators(seed, replicas, "train")
        self._ends: Tensor | None = None
        self._final: list[States] | None = None

    def next(self, step: int) -> Batch:
        """Draw the batch of a step: fresh sequences, or those that follow the last ones if the task reads on."""
        low, high = self._seq_lens
        varies = low < high
        length = int(torch.randint(low, high + 1, (), generator=make_generator(step, "seq_len"))) if varies else high
        # Kept, as tasks make tables for their length when first sampled.
        if length not in self._tasks:
            self._tasks[length] = self._task.with_seq_len(length)
        task = self._tasks[length]
        ends = [None] * len(self._generators) if self._ends is None else self._ends
        pairs = zip(ends, self._generators, strict=True)
        batch = stack([task.sample_after(end, self._batch_size, generator) for end, generator in pairs])
        self._ends = batch.ends
        return batch.to(self._device)

    @property
    def initial(self) -> list[States] | None:
        """State of each layer before the next batch: where the last one ended, if the task reads on."""
        return self._final

    def keep(self, final: Sequence[States]) -> None:
        """Store the states after the last batch; a sequence whose state is not finite restarts from zero."""
        self._final = [tuple(_finite(state) for state in states) for states in final] or None

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {
            "generators": [generator.get_state() for generator in self._generators],
            "ends": self._ends,
            "final": [list(states) for states in self._final] if self._final else None,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        for generator, stored in zip(self._generators, state["generators"], strict=True):
            generator.set_state(stored)
        self._ends = state["ends"]
        if state["final"] is not None:
            self._final = [tuple(tensor.to(self._device) for tensor in states) for states in state["final"]]


def _finite(state: Tensor) -> Tensor:
    """Return the state, with zeros for the sequences that have an entry that is not finite."""
    whole: Bool[Tensor, "replica batch 1"] = state.isfinite().all(-1, keepdim=True)
    return torch.where(whole, state, 0)
