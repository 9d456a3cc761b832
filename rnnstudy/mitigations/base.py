"""Mitigations: changes to a training step, in one of a few phases."""

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rnnstudy.models.base import Model, Network
from rnnstudy.recurrence.base import Adjoint, AdjointEdit, States
from rnnstudy.runs.tags import Meaning

Diagnostics = dict[str, Float[Tensor, " replica"]]
"""Figures of one step, one per replica; the log keeps their mean since the last entry."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Place of a step in training.

    Args:
        step: Optimizer steps done so far.
        num_steps: Optimizer steps of the run at most.
        seeds: One seed per replica; a mitigation's draws depend on it and the step alone.
    """

    step: int
    num_steps: int
    seeds: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Backward:
    """Results of a step's backward pass.

    Attributes:
        moment: Place of the step in training.
        network: The network; its weights must not be changed here.
        gradients: Parameter name to gradient of the mean loss over the batch, replica axis first; to change in place.
        states: Every state at every time step, per layer.
        adjoints: State name to adjoint of the mean loss, per layer.
    """

    moment: Moment
    network: Network
    gradients: dict[str, Tensor]
    states: Sequence[States]
    adjoints: Sequence[dict[str, Adjoint]]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Loss and gradient of a backward pass, before the mitigations change any gradient.

    Attributes:
        finite_loss: Whether the loss of each replica is finite.
        raw_norm: Norm of the gradient over all parameters.
    """

    finite_loss: Bool[Tensor, " replica"]
    raw_norm: Float[Tensor, " replica"]


class Mitigation(ABC):
    """One way to keep gradients from vanishing or exploding.

    A phase does nothing unless a member overrides it; the baseline is the same run without the member, bit for bit.
    Several act in the given order, on each replica by itself.
    """

    off: ClassVar[dict[str, Any]]
    """Arguments that switch it off: a run with them is the baseline, bit for bit."""

    felt: ClassVar[dict[str, Any]]
    """Arguments that change the weights within a few steps of any small run."""

    coefficient: ClassVar[bool] = False
    """Whether it scales the gradient by one factor per replica and logs it; TensorBoard's first screen shows that."""

    meanings: ClassVar[Mapping[str, Meaning]] = {}
    """Meaning of the tags that it alone logs, by family; that of all others is in `runs.tags`."""

    @classmethod
    def edits_adjoints(cls) -> bool:
        """Return whether it changes gradients on their way back through time; the changed ones are recorded."""
        return cls.adjoint_edit is not Mitigation.adjoint_edit

    def require_suits(self, model: Model) -> None:  # noqa: B027 - most suit every model
        """Raise ConfigError, saying why and what it applies to, if it cannot be applied to the model."""

    def prepare(self, network: Network) -> None:  # noqa: B027 - doing nothing is the baseline
        """Change the network before training, in place."""

    def adjoint_edit(self, moment: Moment) -> AdjointEdit | None:
        """Return the edit of the carried adjoints in a step's backward pass; may be called more than once per step."""
        return None

    def extra_loss(self, network: Network) -> Float[Tensor, " replica"] | None:
        """Compute a term to add to the loss before the backward pass."""
        return None

    def after_backward(self, backward: Backward) -> Diagnostics:
        """Change the parameters' gradients in place, before the optimizer sees them; return figures to log, by tag."""
        return {}

    def may_step(self, allowed: Bool[Tensor, " replica"], outcome: Outcome) -> Bool[Tensor, " replica"]:
        """Return which replicas may take the step, from those `allowed` so far and the backward pass's `outcome`.

        At first, those with a finite loss and a finite raw gradient are allowed. A gradient that ends up non-finite, or
        zero where it was non-finite, never takes the step.
        """
        return allowed

    def after_update(self, network: Network, updated: Bool[Tensor, " replica"]) -> None:  # noqa: B027 - as above
        """Change the weights in place after the optimizer's step, of the replicas that took it."""

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold to resume exactly; empty for most."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:  # noqa: B027 - nothing is kept unless a member says so
        """Restore what `state` returned."""


def per_replica(values: Float[Tensor, " replica"], like: Tensor) -> Tensor:
    """Return one number per replica in the shape and dtype for a tensor whose first axis is the replica."""
    return values.to(like.dtype).view(-1, *[1] * (like.dim() - 1))


def scale_(gradients: dict[str, Tensor], factor: Float[Tensor, " replica"]) -> None:
    """Multiply every gradient of replica r by `factor[r]`, in place."""
    with torch.no_grad():
        for gradient in gradients.values():
            gradient.mul_(per_replica(factor, gradient))
