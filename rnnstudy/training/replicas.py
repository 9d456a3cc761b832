"""What has become of each replica."""

from dataclasses import dataclass, fields
from enum import IntEnum

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class Status(IntEnum):
    """Where a replica stands; stored in checkpoints, so the numbers stay."""

    RUNNING = 0
    SOLVED = 1
    DIVERGED = 2


NEVER = -1
"""Steps to solve of a replica that has not solved the task."""


@dataclass(kw_only=True)
class ReplicaStates:
    """Status and counters of every replica; on the CPU.

    Attributes:
        status: A `Status` each.
        steps_to_solve: Optimizer steps at the first evaluation that found the task solved, or NEVER.
        skipped: Optimizer steps skipped, because the gradient was not finite or a mitigation said so.
        skipped_in_a_row: The same, since the last step that was not skipped.
    """

    status: Int[Tensor, " replica"]
    steps_to_solve: Int[Tensor, " replica"]
    skipped: Int[Tensor, " replica"]
    skipped_in_a_row: Int[Tensor, " replica"]

    @classmethod
    def fresh(cls, replicas: int) -> "ReplicaStates":
        """All running."""
        zeros = torch.zeros(replicas, dtype=torch.long)
        return cls(
            status=zeros.clone(),
            steps_to_solve=torch.full_like(zeros, NEVER),
            skipped=zeros.clone(),
            skipped_in_a_row=zeros.clone(),
        )

    @property
    def training(self) -> Bool[Tensor, " replica"]:
        """Which replicas still train."""
        return self.status == Status.RUNNING

    def mark_solved(self, solved: Bool[Tensor, " replica"], step: int, *, stop: bool) -> Bool[Tensor, " replica"]:
        """Note who has solved the task at `step`.

        Args:
            solved: Who meets the criterion now.
            step: Optimizer steps done so far.
            stop: Whether a replica that has solved the task stops training.

        Returns:
            Who stops now.
        """
        first = solved & self.training & (self.steps_to_solve == NEVER)
        self.steps_to_solve[first] = step
        stopping = first if stop else torch.zeros_like(first)
        self.status[stopping] = Status.SOLVED
        return stopping

    def note_skips(self, may_step: Bool[Tensor, " replica"], patience: int) -> Bool[Tensor, " replica"]:
        """Count who must skip this step; tells who diverged now, after `patience` skips in a row, and is given up."""
        skipping = self.training & ~may_step
        self.skipped += skipping
        self.skipped_in_a_row = torch.where(skipping, self.skipped_in_a_row + 1, 0)
        diverged = self.training & (self.skipped_in_a_row >= patience)
        self.status[diverged] = Status.DIVERGED
        return diverged

    def names(self) -> list[str]:
        """How each replica ended: "solved", "diverged", or "finished" without having solved the task."""
        solved = self.steps_to_solve != NEVER
        return [
            "diverged" if status == Status.DIVERGED else "solved" if was_solved else "finished"
            for status, was_solved in zip(self.status.tolist(), solved.tolist(), strict=True)
        ]

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {field.name: getattr(self, field.name).clone() for field in fields(self)}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> "ReplicaStates":
        """From a checkpoint."""
        return cls(**state)
