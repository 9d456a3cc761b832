"""What a mitigation is: something done to a training step, in one of four phases."""

from abc import ABC

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnstudy.recurrence.base import AdjointEdit

Diagnostics = dict[str, Float[Tensor, " replica"]]
"""Figures of one step, one per replica; the log keeps their mean since the last entry."""


class Mitigation(ABC):  # noqa: B024 - every phase may be left as it is
    """One way to keep gradients from vanishing or exploding.

    Each phase does nothing unless a member overrides it; the baseline is the same run without the member, bit for
    bit. Several mitigations act in the order in which they are given. Everything acts on each replica by itself.
    """

    def prepare(self, network: nn.Module) -> None:  # noqa: B027 - doing nothing is the baseline
        """Change the network before training, in place."""

    def adjoint_edit(self, step: int) -> AdjointEdit | None:
        """What to do to the carried adjoints in the backward pass of this optimizer step."""
        return None

    def extra_loss(self, network: nn.Module) -> Float[Tensor, " replica"] | None:
        """A term to add to the loss before the backward pass."""
        return None

    def after_backward(self, gradients: dict[str, Tensor]) -> Diagnostics:
        """Change the parameters' gradients in place, before the optimizer sees them.

        Args:
            gradients: Parameter name to gradient, the replica axis first; of the mean loss over the batch.

        Returns:
            Figures to log, by tag.
        """
        return {}

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold to go on exactly; none for most."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:  # noqa: B027 - nothing is kept unless a member says so
        """Take up what `state` gave."""


def scale_(gradients: dict[str, Tensor], factor: Float[Tensor, " replica"]) -> None:
    """Multiply every gradient of replica r by `factor[r]`, in place."""
    with torch.no_grad():
        for gradient in gradients.values():
            shape = (-1, *[1] * (gradient.dim() - 1))
            gradient.mul_(factor.to(gradient.dtype).view(shape))
