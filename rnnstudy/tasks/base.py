"""What a task is: a few facts, and fresh samples from an explicit generator."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional
from typing_extensions import override


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sequences with their targets; a task samples it for one replica, `stack` adds the replica axis.

    Attributes:
        inputs: Token ids (integers, no feature axis) or features.
        loss_steps: The time steps at which the network's output is read, the same for all sequences.
        targets: What is to be put out there: class ids, or values (with an output axis).
        counted: Which of the outputs enter the loss.
        answer: Which of the outputs are the answer, on which the task is judged.
        informative: Which inputs decide the answer.
    """

    inputs: Shaped[Tensor, "time ..."]
    loss_steps: Int[Tensor, " loss_step"]
    targets: Shaped[Tensor, "loss_step ..."]
    counted: Bool[Tensor, "loss_step ..."]
    answer: Bool[Tensor, "loss_step ..."]
    informative: Bool[Tensor, "time ..."]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def stack(batches: Sequence[Batch]) -> Batch:
    """Put batches of several replicas side by side on a new second axis."""
    stacked = {
        field.name: torch.stack([getattr(batch, field.name) for batch in batches], dim=1)
        for field in fields(Batch)
        if field.name != "loss_steps"
    }
    return Batch(loss_steps=batches[0].loss_steps, **stacked)


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """When a replica has solved the task: the metric reaches the threshold.

    Args:
        metric: Name among the task's metrics.
        threshold: The value to reach.
        direction: Whether more or less is better.
    """

    metric: str
    threshold: float
    direction: Literal["at_least", "at_most"]

    def is_met(self, metrics: dict[str, Float[Tensor, " replica"]]) -> Bool[Tensor, " replica"]:
        """Which replicas have solved the task; NaN never has."""
        value = metrics[self.metric]
        return value >= self.threshold if self.direction == "at_least" else value <= self.threshold


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a task before anything is trained.

    Args:
        seq_len: Time steps of a sequence.
        input_size: Features of an input, or the number of different tokens.
        output_size: Classes or values to put out.
        has_tokens: Whether inputs are token ids, which the model embeds, rather than features.
        chance_loss: Loss at the answer of the best guess that does not know the informative steps.
        chance_accuracy: Accuracy of that guess; None where nothing is classified.
        solved: When the task counts as solved.
        informative_steps: Time steps that can carry the information; a batch says which do in each sequence.
    """

    seq_len: int
    input_size: int
    output_size: int
    has_tokens: bool
    chance_loss: float
    chance_accuracy: float | None
    solved: Criterion
    informative_steps: tuple[int, ...]


class Task(ABC):
    """A problem with long dependencies.

    Losses are means over the sequences and over the counted time steps of a batch, one per replica.
    """

    @property
    @abstractmethod
    def facts(self) -> Facts:
        """What is known of the task."""

    @abstractmethod
    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw fresh sequences of one replica; all randomness comes from `generator`."""

    @abstractmethod
    def losses(
        self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch
    ) -> Float[Tensor, "loss_step replica batch"]:
        """Loss of every single output."""

    @abstractmethod
    def metrics(
        self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch
    ) -> dict[str, Float[Tensor, " replica"]]:
        """Figures of a batch, one per replica: "loss" as trained on, and what the answer is judged by."""

    def loss(self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch) -> Float[Tensor, " replica"]:
        """Mean loss over the counted outputs, one per replica."""
        return mean_where(self.losses(outputs, batch), batch.counted)


class ClassificationTask(Task):
    """A task whose outputs are logits of classes: cross entropy in nats, accuracy at the answer."""

    @override
    def losses(
        self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch
    ) -> Float[Tensor, "loss_step replica batch"]:
        flat = functional.cross_entropy(outputs.flatten(0, 2), batch.targets.flatten(), reduction="none")
        return flat.view_as(batch.targets)

    @override
    def metrics(
        self, outputs: Float[Tensor, "loss_step replica batch output"], batch: Batch
    ) -> dict[str, Float[Tensor, " replica"]]:
        losses = self.losses(outputs, batch)
        correct = (outputs.argmax(-1) == batch.targets).to(outputs.dtype)
        # An answer of NaN logits is wrong, whatever argmax makes of it.
        correct = correct * outputs.isfinite().all(-1)
        return {
            "loss": mean_where(losses, batch.counted),
            "answer_loss": mean_where(losses, batch.answer),
            "accuracy": mean_where(correct, batch.answer),
        }


def mean_where(
    values: Float[Tensor, "loss_step replica batch"], chosen: Bool[Tensor, "loss_step replica batch"]
) -> Float[Tensor, " replica"]:
    """Mean over the chosen values, one per replica."""
    return torch.where(chosen, values, 0).sum(dim=(0, 2)) / chosen.sum(dim=(0, 2))
