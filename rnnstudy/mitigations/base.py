"""What a mitigation is: something done to a training step, in one of a few phases."""

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnstudy.models.base import Model, Network
from rnnstudy.recurrence.base import Adjoint, AdjointEdit, States

Diagnostics = dict[str, Float[Tensor, " replica"]]
"""Figures of one step, one per replica; the log keeps their mean since the last entry."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where in training a step is.

    Args:
        step: Optimizer steps done so far.
        num_steps: Optimizer steps of the run at most.
        seeds: One per replica; what a mitigation draws depends on a replica's seed and the step alone.
    """

    step: int
    num_steps: int
    seeds: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Backward:
    """What the backward pass of a step has left.

    Attributes:
        moment: Of the step.
        network: Its weights are not to be changed here.
        gradients: Parameter name to gradient of the mean loss over the batch, the replica axis first; to be changed in
            place.
        states: Of each layer, every state at every time step.
        adjoints: Of each layer, state name to adjoint of the mean loss, if a mitigation `needs_adjoints`.
    """

    moment: Moment
    network: Network
    gradients: dict[str, Tensor]
    states: Sequence[States]
    adjoints: Sequence[dict[str, Adjoint]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a backward pass gave, before the mitigations changed any gradient.

    Attributes:
        finite_loss: Which replicas have a finite loss.
        raw_norm: Norm of the gradient over all parameters.
    """

    finite_loss: Bool[Tensor, " replica"]
    raw_norm: Float[Tensor, " replica"]


class Mitigation(ABC):
    """One way to keep gradients from vanishing or exploding.

    Each phase does nothing unless a member overrides it; the baseline is the same run without the member, bit for
    bit. Several mitigations act in the order in which they are given. Everything acts on each replica by itself.
    """

    off: ClassVar[dict[str, Any]]
    """Arguments that switch it off: a run with them is the baseline, bit for bit."""

    felt: ClassVar[dict[str, Any]]
    """Arguments that change the weights within a few steps of any small run."""

    coefficient: ClassVar[bool] = False
    """Whether it scales the gradient by one factor per replica and logs it; TensorBoard's first screen shows that."""

    @classmethod
    def edits_adjoints(cls) -> bool:
        """Return whether it changes gradients on their way back through time; the changed ones are recorded."""
        return cls.adjoint_edit is not Mitigation.adjoint_edit

    @property
    def needs_adjoints(self) -> bool:
        """Whether `after_backward` wants the adjoints of all states at every step."""
        return False

    def require_suits(self, model: Model) -> None:  # noqa: B027 - most suit every model
        """Refuse a model that this cannot be applied to.

        Raises:
            ConfigError: Why not, and what it applies to.
        """

    def prepare(self, network: Network) -> None:  # noqa: B027 - doing nothing is the baseline
        """Change the network before training, in place."""

    def adjoint_edit(self, moment: Moment) -> AdjointEdit | None:
        """What to do to the carried adjoints in the backward pass of a step; may be asked for more than once."""
        return None

    def extra_loss(self, network: Network) -> Float[Tensor, " replica"] | None:
        """A term to add to the loss before the backward pass."""
        return None

    def after_backward(self, backward: Backward) -> Diagnostics:
        """Change the parameters' gradients in place, before the optimizer sees them.

        Args:
            backward: Gradients and what they came from.

        Returns:
            Figures to log, by tag.
        """
        return {}

    def may_step(self, allowed: Bool[Tensor, " replica"], outcome: Outcome) -> Bool[Tensor, " replica"]:
        """Decide which replicas may take the step.

        Args:
            allowed: Which may so far; at first those with a finite loss and a finite raw gradient.
            outcome: What the backward pass gave.

        Returns:
            Which may. A gradient that is not finite in the end, or zero where it was not finite, is not taken anyhow.
        """
        return allowed

    def after_update(self, network: Network, updated: Bool[Tensor, " replica"]) -> None:  # noqa: B027 - as above
        """Change the weights in place after the optimizer's step, of the replicas that took it."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold to go on exactly; none for most."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:  # noqa: B027 - nothing is kept unless a member says so
        """Take up what `state` gave."""


def per_replica(values: Float[Tensor, " replica"], like: Tensor) -> Tensor:
    """One number per replica in the shape and dtype to go with a tensor whose first axis is the replica."""
    return values.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


def scale_(gradients: dict[str, Tensor], factor: Float[Tensor, " replica"]) -> None:
    """Multiply every gradient of replica r by `factor[r]`, in place."""
    with torch.no_grad():
        for gradient in gradients.values():
            gradient.mul_(per_replica(factor, gradient))
