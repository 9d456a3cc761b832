"""Status and counters of the replicas."""

from dataclasses import dataclass, fields
from enum import IntEnum

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class Status(IntEnum):
    """Status of a replica; checkpoints store the numbers, so they must not change."""

    RUNNING = 0
    SOLVED = 1
    DIVERGED = 2


NEVER = -1
"""Value of `steps_to_solve` for a replica that has not solved the task."""


@dataclass(kw_only=True)
class ReplicaStates:
    """Status and counters of every replica, on the CPU.

    Attributes:
        status: A `Status` per replica.
        steps_to_solve: Optimizer steps at the first evaluation that found the task solved, or NEVER.
        skipped: Optimizer steps skipped because the gradient was not finite or a mitigation decided so.
        skipped_in_a_row: Those skipped since the last step that was not.
        diverged_at: Step from which every step of a replica that was given up was skipped, or NEVER.
    """

    status: Int[Tensor, " replica"]
    steps_to_solve: Int[Tensor, " replica"]
    skipped: Int[Tensor, " replica"]
    skipped_in_a_row: Int[Tensor, " replica"]
    diverged_at: Int[Tensor, " replica"]

    @classmethod
    def fresh(cls, replicas: int) -> "ReplicaStates":
        """Return the states of replicas that all run."""
        status, skipped, in_a_row = torch.zeros(3, replicas, dtype=torch.long).unbind()
        never = torch.full_like(status, NEVER)
        return cls(
            status=status,
            steps_to_solve=never,
            skipped=skipped,
            skipped_in_a_row=in_a_row,
            diverged_at=never.clone(),
        )

    @property
    def training(self) -> Bool[Tensor, " replica"]:
        """Whether each replica still trains."""
        return self.status == Status.RUNNING

    def mark_solved(self, solved: Bool[Tensor, " replica"], step: int, *, stop: bool) -> Bool[Tensor, " replica"]:
        """Record `step` for replicas that now solve the task for the first time; return those that stop, if `stop`."""
        first = solved & self.training & (self.steps_to_solve == NEVER)
        self.steps_to_solve[first] = step
        stopping = first if stop else torch.zeros_like(first)
        self.status[stopping] = Status.SOLVED
        return stopping

    def note_skips(self, may_step: Bool[Tensor, " replica"], step: int, patience: int) -> Bool[Tensor, " replica"]:
        """Count who skips this step; return and freeze those diverged now, after `patience` skips in a row."""
        skipping = self.training & ~may_step
        self.skipped += skipping
        self.skipped_in_a_row = torch.where(skipping, self.skipped_in_a_row + 1, 0)
        diverged = self.training & (self.skipped_in_a_row >= patience)
        self.status[diverged] = Status.DIVERGED
        self.diverged_at[diverged] = step + 1 - patience
        return diverged

    def names(self) -> list[str]:
        """Return how each replica ended: "solved", "diverged", or "finished" without having solved the task."""
        solved = self.steps_to_solve != NEVER
        return [
            "diverged" if status == Status.DIVERGED else "solved" if was_solved else "finished"
            for status, was_solved in zip(self.status.tolist(), solved.tolist(), strict=True)
        ]

    def state(self) -> dict[str, Tensor]:
        """Return the state for a checkpoint."""
        return {field.name: getattr(self, field.name).clone() for field in fields(self)}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> "ReplicaStates":
        """Restore the states from a checkpoint; what those of older versions lack is as at the start."""
        return cls(**cls.fresh(len(state["status"])).state() | state)
