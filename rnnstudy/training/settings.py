"""Settings of the training loop."""

from dataclasses import dataclass, field

from rnnstudy.core.errors import require_at_least


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How long and how often.

    Args:
        num_steps: Optimizer steps at most.
        batch_size: Sequences of a batch, per replica, drawn fresh at every step.
        log_interval: Optimizer steps between log entries of what training itself yields.
        eval_interval: Optimizer steps between evaluations.
        eval_batch_size: Sequences of the fixed evaluation set, per replica.
        checkpoint_interval: Optimizer steps between checkpoints.
        kept_checkpoints: How many of the last checkpoints are kept, at least 1; null keeps all.
        stop_when_solved: Whether a replica stops when an evaluation finds the task solved; the run ends when none
            trains any more.
        max_skipped_in_a_row: Steps skipped in a row, for a gradient that is not finite, after which a replica counts
            as diverged and is frozen.
    """

    num_steps: int
    batch_size: int
    log_interval: int
    eval_interval: int
    eval_batch_size: int
    checkpoint_interval: int
    kept_checkpoints: int | None = 2
    stop_when_solved: bool
    max_skipped_in_a_row: int

    def __post_init__(self) -> None:
        require_at_least("num_steps", self.num_steps, 0)
        for name in ("batch_size", "log_interval", "eval_interval", "eval_batch_size"):
            require_at_least(name, getattr(self, name), 1)
        require_at_least("checkpoint_interval", self.checkpoint_interval, 1)
        if self.kept_checkpoints is not None:
            require_at_least("kept_checkpoints", self.kept_checkpoints, 1)
        require_at_least("max_skipped_in_a_row", self.max_skipped_in_a_row, 1)


@dataclass(frozen=True, kw_only=True)
class EvalSettings:
    """What is evaluated beside the length that is trained on.

    Args:
        seq_lens: Other lengths of sequences to evaluate at, in time steps; each costs an evaluation of that length.
    """

    seq_lens: list[int] = field(default_factory=list)
