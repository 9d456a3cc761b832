"""Tasks: a few facts, and samples from an explicit generator."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from rnnstudy.core.criterion import Criterion
from rnnstudy.core.encoding import Encoding
from rnnstudy.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sequences with their targets; a task samples it for one replica, `stack` adds the replica axis.

    Attributes:
        inputs: Token ids (integers, no feature axis) or features.
        loss_steps: Time steps at which the network's output is read, the same for all sequences.
        targets: Expected outputs there: class ids, or values (with an output axis).
        counted: Which outputs enter the loss; as many in every sequence.
        answer: Which outputs are the answer, on which the task is judged; as many in every sequence.
        informative: Which inputs decide the answer.
        ends: Place in the data where each sequence ends, if the task reads on from there; None if it does not.
    """

    inputs: Shaped[Tensor, "time ..."]
    loss_steps: Int[Tensor, " loss_step"]
    targets: Shaped[Tensor, "loss_step ..."]
    counted: Bool[Tensor, "loss_step ..."]
    answer: Bool[Tensor, "loss_step ..."]
    informative: Bool[Tensor, "time ..."]
    ends: Int[Tensor, "..."] | None = None

    def replica(self, number: int | slice) -> "Batch":
        """Return the batch of one replica, without the replica axis; a slice of replicas keeps it."""
        chosen = {name: getattr(self, name)[:, number] for name in _OVER_TIME}
        return replace(self, ends=None if self.ends is None else self.ends[number], **chosen)

    def sequences(self, start: int, stop: int) -> "Batch":
        """Return the sequences start..stop-1 of a batch with a replica axis."""
        chosen = {name: getattr(self, name)[:, :, start:stop] for name in _OVER_TIME}
        return replace(self, ends=None if self.ends is None else self.ends[:, start:stop], **chosen)

    def to(self, device: torch.device) -> "Batch":
        """Return the same batch on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("loss_steps", *_OVER_TIME)}
        return replace(self, ends=None if self.ends is None else self.ends.to(device), **moved)


_OVER_TIME = ("inputs", "targets", "counted", "answer", "informative")
"""Tensors of a batch that have axes of time (or loss steps) and sequences."""


def stack(batches: Sequence[Batch]) -> Batch:
    """Stack the batches of several replicas on a new axis before that of the sequences."""
    stacked = {name: torch.stack([getattr(batch, name) for batch in batches], dim=1) for name in _OVER_TIME}
    ends = [batch.ends for batch in batches if batch.ends is not None]
    return Batch(loss_steps=batches[0].loss_steps, ends=torch.stack(ends) if ends else None, **stacked)


def ask_at_end(
    inputs: Shaped[Tensor, "time batch ..."], targets: Shaped[Tensor, "batch ..."], informative: Bool[Tensor, "..."]
) -> Batch:
    """Return a batch with one question, at the last time step, that expects `targets`, one per sequence.

    `informative` marks the inputs that decide it; one value per time step suffices where all sequences agree.
    """
    time, batch = inputs.shape[:2]
    everywhere = torch.ones(1, batch, dtype=torch.bool)
    return Batch(
        inputs=inputs,
        loss_steps=torch.tensor([time - 1]),
        targets=targets[None],
        counted=everywhere,
        answer=everywhere,
        informative=informative if informative.ndim == 2 else informative[:, None].expand(time, batch),
    )


def predict_next(
    inputs: Int[Tensor, "time batch"], answer: Int[Tensor, " batch"], *, cue_step: int, first: int
) -> Batch:
    """Return a batch that asks for the next token from the time step `first` on, and at the last one for `answer`.

    It is judged on the answer, which the input at `cue_step` decides.
    """
    steps = torch.arange(len(inputs))
    targets = torch.cat([inputs[1:], answer[None]])[first:]
    return Batch(
        inputs=inputs,
        loss_steps=steps[first:],
        targets=targets,
        counted=torch.ones_like(targets, dtype=torch.bool),
        answer=(steps == steps[-1])[first:, None].expand_as(targets),
        informative=(steps == cue_step)[:, None].expand_as(inputs),
    )


RIGHT = Criterion(metric="accuracy", threshold=0.99, direction="at_least")
"""Criterion of most tasks with classes: 99 % right."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about a task before training.

    Args:
        seq_len: Time steps of a sequence.
        encoding: How the inputs enter a network.
        input_names: Names of an input's features, or of the tokens, for people to read.
        output_names: Names of the classes or output values.
        chance_loss: Loss at the answer of the best guess that does not know the informative inputs.
        chance_accuracy: Accuracy at the answer of the best such guess, best by its accuracy.
        memoryless_loss: Loss as trained on of the best guess from time step and present input alone; None if unknown.
        solved: When the task counts as solved, by default at 99 % accuracy; None without a criterion.
        informative_steps: Time steps that can carry the information; a batch marks those of each sequence.
        answer_alone: Whether the loss as trained on is that of the answer alone, `Task.answer_loss`.
        answer_at_end: Whether every sequence's answer includes its last time step, from which lags count back.
    """

    seq_len: int
    encoding: Encoding
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    chance_loss: float
    chance_accuracy: float
    memoryless_loss: float | None
    solved: Criterion | None = RIGHT
    informative_steps: tuple[int, ...]
    answer_alone: bool = True
    answer_at_end: bool = True

    @property
    def input_size(self) -> int:
        """Features of an input, or the number of different tokens."""
        return len(self.input_names)

    @property
    def output_size(self) -> int:
        """Number of classes or output values."""
        return len(self.output_names)


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """Problem with long dependencies; losses are means over a batch and its counted time steps, one per replica."""

    length_field: ClassVar[str | None] = "seq_len"
    """Argument that sets the length of the sequences, one time step longer for every 1 more; None if none does.
    In a configuration it may be two numbers, the least and the most: then every batch draws its own length.
    """

    loss_name: ClassVar[str]
    """Name of the loss, for people to read."""

    @property
    @abstractmethod
    def facts(self) -> Facts:
        """Facts about the task."""

    @property
    def data_digest(self) -> str | None:
        """SHA-256 of the user's data, by which a run recognises it; None without such data."""
        return None

    @abstractmethod
    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw sequences of one replica; all randomness comes from `generator`."""

    def sample_after(self, ends: Int[Tensor, " batch"] | None, batch_size: int, generator: torch.Generator) -> Batch:
        """Return the next batch to train on: fresh, unless the task continues from the last batch's `ends`, if any."""
        return self.sample(batch_size, generator)

    def held_out(self) -> "Task":
        """Return the task to evaluate networks on: this one, unless its data is a fixed set with a part kept apart."""
        return self

    def with_seq_len(self, seq_len: int) -> "Task":
        """Return the task with sequences of `seq_len` time steps; raise ConfigError if it has none of that length."""
        now = self.facts.seq_len
        if self.length_field is None:
            if seq_len != now:
                raise ConfigError(f"this task has sequences of {now} time steps only, not of {seq_len}.")
            return self
        return replace(self, **{self.length_field: getattr(self, self.length_field) + seq_len - now})

    @abstractmethod
    def losses(
        self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch
    ) -> Float[Tensor, "loss_step replica batch"]:
        """Compute the loss of every single output."""

    @abstractmethod
    def correct(
        self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch
    ) -> Bool[Tensor, "loss_step replica batch"]:
        """Return whether every single output is right; one that is not finite is wrong."""

    def metrics(
        self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch
    ) -> dict[str, Float[Tensor, " replica"]]:
        """Return figures of a batch, one per replica: "loss" as trained on, and those by which the answer is judged."""
        losses = self.losses(outputs, batch)
        return {
            "loss": mean_where(losses, batch.counted),
            "answer_loss": mean_where(losses, batch.answer),
            "accuracy": mean_where(self.correct(outputs, batch).to(outputs.dtype), batch.answer),
        }

    def loss(self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch) -> Float[Tensor, " replica"]:
        """Compute the mean loss over the counted outputs, one per replica."""
        return mean_where(self.losses(outputs, batch), batch.counted)

    def answer_loss(
        self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch
    ) -> Float[Tensor, " replica"]:
        """Compute the mean loss over `answer_outputs`, whose gradient shows how far back an answer reaches."""
        return mean_where(self.losses(outputs, batch), self.answer_outputs(batch))

    def answer_outputs(self, batch: Batch) -> Bool[Tensor, "loss_step replica batch"]:
        """Return which outputs enter `answer_loss`, as many in every sequence: those judged, unless all steps are."""
        return batch.answer


@dataclass(frozen=True, kw_only=True)
class SyntheticTask(Task):
    """Task with generated sequences, whose targets follow from the inputs by a rule."""

    @abstractmethod
    def draw(self, batch_size: int, generator: torch.Generator) -> Shaped[Tensor, "time batch ..."]:
        """Draw the inputs of fresh sequences; all randomness comes from `generator`."""

    @abstractmethod
    def pose(self, inputs: Shaped[Tensor, "time batch ..."]) -> Batch:
        """Ask the task's question about any inputs that `draw` could have drawn: the rule, without randomness."""

    @override
    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        return self.pose(self.draw(batch_size, generator))


@dataclass(frozen=True, kw_only=True)
class ClassificationTask(Task):
    """Task whose outputs are logits of classes: cross entropy in nats, accuracy at the answer."""

    loss_name: ClassVar[str] = "cross entropy in nats"

    @override
    def losses(
        self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch
    ) -> Float[Tensor, "loss_step replica batch"]:
        flat = functional.cross_entropy(outputs.flatten(0, 2), batch.targets.flatten(), reduction="none")
        return flat.view_as(batch.targets)

    @override
    def correct(
        self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch
    ) -> Bool[Tensor, "loss_step replica batch"]:
        # An answer of NaN logits is wrong, regardless of what argmax returns.
        return (outputs.argmax(-1) == batch.targets) & outputs.isfinite().all(-1)


@dataclass(frozen=True, kw_only=True)
class RegressionTask(Task):
    """Task whose outputs are values: squared error; an answer is correct if its error is below `tolerance`."""

    loss_name: ClassVar[str] = "squared error"

    @property
    @abstractmethod
    def tolerance(self) -> float:
        """Absolute error below which an answer is correct."""

    @override
    def losses(
        self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch
    ) -> Float[Tensor, "loss_step replica batch"]:
        return (outputs - batch.targets).square().mean(-1)

    @override
    def correct(
        self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch
    ) -> Bool[Tensor, "loss_step replica batch"]:
        return ((outputs - batch.targets).abs() < self.tolerance).all(-1)


def mean_where(
    values: Float[Tensor, "loss_step replica batch"], chosen: Bool[Tensor, "loss_step replica batch"]
) -> Float[Tensor, " replica"]:
    """Compute the mean over the chosen values, one per replica."""
    return torch.where(chosen, values, 0).sum(dim=(0, 2)) / chosen.sum(dim=(0, 2))
