"""Settings of the training loop."""

from dataclasses import dataclass, field

from rnnstudy.core.errors import require_at_least


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Durations and intervals of training.

    Args:
        num_steps: Optimizer steps at most.
        batch_size: Sequences per batch and replica, drawn afresh at every step.
        log_interval: Optimizer steps between log entries of what training itself yields.
        eval_interval: Optimizer steps between evaluations.
        eval_batch_size: Sequences of the fixed evaluation set, per replica.
        checkpoint_interval: Optimizer steps between checkpoints.
        kept_checkpoints: Number of the newest checkpoints to keep, at least 1; null keeps all.
        stop_when_solved: Whether a replica stops once an evaluation finds the task solved; a run ends when none trains.
        max_skipped_in_a_row: Skips in a row, for gradients that are not finite, that freeze a replica as diverged.
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
        for name in ("batch_size", "log_interval", "eval_interval", "eval_batch_size", "checkpoint_interval"):
            require_at_least(name, getattr(self, name), 1)
        if self.kept_checkpoints is not None:
            require_at_least("kept_checkpoints", self.kept_checkpoints, 1)
        require_at_least("max_skipped_in_a_row", self.max_skipped_in_a_row, 1)


@dataclass(frozen=True, kw_only=True)
class EvalSettings:
    """Settings of evaluation beside the training length.

    Args:
        seq_lens: Other sequence lengths to evaluate at, in time steps; each costs an evaluation of that length.
        solved_batch_size: Sequences per replica to judge whether the task is solved, drawn afresh at every evaluation;
            None judges on the evaluation set.
    """

    seq_lens: list[int] = field(default_factory=list)
    solved_batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.solved_batch_size is not None:
            require_at_least("solved_batch_size", self.solved_batch_size, 1)
