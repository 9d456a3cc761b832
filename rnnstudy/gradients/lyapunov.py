"""Lyapunov exponents: rates at which small changes of the state grow along a trajectory."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.jacobians import jacobians_backward, jacobians_forward
from rnnstudy.gradients.trajectories import Trajectory


@dataclass(frozen=True, kw_only=True)
class LyapunovExponents:
    """Growth along a finite stretch of a trajectory, in natural logarithms per time step.

    Forward, an orthonormal frame passes through J_1, J_2, ..., J_T and is orthonormalised after every step; the
    exponents are the mean logarithms of how much its vectors grew. Backward, a frame of adjoints passes through J_T',
    ..., J_1', as gradients do. Both reach the same exponents as T grows, since a product and its transpose have the
    same singular values; at a finite T they differ, for the frames are not yet those of the singular vectors.

    Attributes:
        forward: Exponents of growing changes, in the order in which the frame holds them, usually the largest first.
            The frame starts at the units, in their order, so over few steps the exponents depend on that order; the
            norm of the product bounds what any direction keeps.
        backward: Exponents of adjoints.
        steps: Time steps in the average.
    """

    forward: Float[Tensor, "replica batch state"]
    backward: Float[Tensor, "replica batch state"]
    steps: int


@torch.no_grad()
def lyapunov(trajectory: Trajectory, *, burn_in: int = 0) -> LyapunovExponents:
    """Compute the exponents of the recurrence along its path, by QR (Gram-Schmidt, twice, where directions are lost).

    References:
        Benettin, Galgani, Giorgilli & Strelcyn, Lyapunov characteristic exponents for smooth dynamical systems, 1980.
        Vogt, Puelma Touzel, Shlizerman & Lajoie, On Lyapunov exponents for RNNs, 2022 (arXiv:2006.14123): of trained
        recurrent networks, driven by their inputs.

    Args:
        trajectory: Path of the states.
        burn_in: Time steps at the start of each way that turn the frame but do not count.

    Returns:
        Exponents; -inf where a direction is lost (what is left of it in a step is within the rounding of the others),
        NaN for a path that is not finite.

    Raises:
        ConfigError: `burn_in` leaves no time step.
    """
    if not 0 <= burn_in < trajectory.num_steps:
        last = trajectory.num_steps - 1
        raise ConfigError(f"burn_in must be between 0 and {last}, one less than the time steps, got {burn_in}.")
    return LyapunovExponents(
        forward=_growth(jacobians_forward(trajectory), burn_in),
        backward=_growth((jacobian.mT for jacobian in jacobians_backward(trajectory)), burn_in),
        steps=trajectory.num_steps - burn_in,
    )


def _growth(factors: Iterable[Float[Tensor, "replica batch state state"]], burn_in: int) -> Tensor:
    """Return the mean logarithms of the growth of an orthonormal frame that passes through the factors."""
    frame: Tensor | None = None
    counted: list[Tensor] = []
    lost = torch.tensor(data=False)
    for step, factor in enumerate(factors):
        frame, grown = _orthonormal(factor if frame is None else factor @ frame)
        lost = lost | (grown == 0)
        if step >= burn_in:
            counted.append(grown.log())
    return torch.where(lost, -torch.inf, torch.stack(counted).mean(0))


def _orthonormal(
    moved: Float[Tensor, "replica batch state state"],
) -> tuple[Float[Tensor, "replica batch state state"], Float[Tensor, "replica batch state"]]:
    """Return a frame with orthonormal columns, and the growth of each; both are 0 for a lost column, one of zeros."""
    rounding = torch.finfo(moved.dtype).eps * moved.shape[-1] * torch.linalg.matrix_norm(moved)
    frame, triangle = torch.linalg.qr(moved)
    grown = triangle.diagonal(dim1=-2, dim2=-1).abs()
    if not (grown <= rounding[..., None]).any():
        return frame, grown
    # QR replaces a lost vector by a direction of its own, which takes from the next ones what is theirs.
    frame, grown = torch.zeros_like(moved), torch.zeros_like(grown)
    for place in range(moved.shape[-1]):
        vector = moved[..., place : place + 1]
        for _ in range(2):
            vector = vector - frame @ (frame.mT @ vector)
        length = torch.linalg.vector_norm(vector.squeeze(-1), dim=-1)
        gone = length <= rounding
        frame[..., place] = torch.where(gone[..., None], 0, vector.squeeze(-1) / length[..., None])
        grown[..., place] = torch.where(gone, 0, length)
    return frame, grown
