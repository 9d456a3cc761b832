"""Spectral radius, spectral norm and departure from normality of a recurrent weight matrix, and what follows.

The radius decides in the long run, and in the long run alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rnnstudy.core.errors import ConfigError


def require_square(name: str, matrix: Tensor) -> None:
    """Raise ConfigError, which names the shape, if a matrix is not square."""
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or not matrix.numel():
        shape = " x ".join(map(str, matrix.shape)) or "a single number"
        raise ConfigError(f"{name} must be a square matrix, got {shape}.")


def _where_finite(figure: Callable[[Tensor], Tensor], matrix: Tensor) -> Tensor:
    """Compute a figure of every matrix; NaN for one that holds NaN or infinity, where LAPACK would stop."""
    finite = matrix.isfinite().all(-1).all(-1)
    return torch.where(finite, figure(torch.where(finite[..., None, None], matrix, 0)), torch.nan)


@torch.no_grad()
def spectral_radius(matrix: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, "*batch"]:
    """Return the largest absolute eigenvalue, NaN if not finite; raise ConfigError if the matrix is not square."""
    require_square("the matrix", matrix)
    return _where_finite(lambda finite: torch.linalg.eigvals(finite).abs().amax(-1), matrix)


@torch.no_grad()
def spectral_norm(matrix: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, "*batch"]:
    """Return the largest singular value, the most that a product lengthens a vector; NaN if not finite."""
    return _where_finite(lambda finite: torch.linalg.matrix_norm(finite, ord=2), matrix)


@torch.no_grad()
def non_normality(matrix: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, "*batch"]:
    """Return Henrici's departure over the Frobenius norm: sqrt(||W||_F^2 - sum |lambda_i|^2) / ||W||_F, in float64.

    0 for a normal matrix (orthogonal, symmetric, antisymmetric), whose spectral radius and norm are the same; 1 for a
    nilpotent one, whose only eigenvalue is 0. The zero matrix is normal. NaN for a matrix that is not finite.

    References:
        Henrici, Bounds for iterates, inverses, spectral variation and fields of values of non-normal matrices, 1962.

    Raises:
        ConfigError: The matrix is not square.
    """
    require_square("the matrix", matrix)

    def departure(finite: Tensor) -> Tensor:
        # Scale the matrix to ordinary size, so that its squares neither overflow nor underflow.
        scaled = finite / finite.abs().amax((-2, -1), keepdim=True).clamp(min=torch.finfo(finite.dtype).tiny)
        squares = scaled.square().sum((-2, -1))
        of_eigenvalues = torch.linalg.eigvals(scaled).abs().square().sum(-1)
        return torch.where(squares > 0, (1 - of_eigenvalues / squares).clamp(min=0).sqrt(), 0)

    return _where_finite(departure, matrix.double())


def vanilla_bound(gamma: float, norm: float, num_steps: int) -> Float[Tensor, " time"]:
    """Return log10 of (gamma * norm)^(T-k), the bound of ||dh_T/dh_k||, for k = 0..T, T the last of `num_steps` steps.

    `gamma` bounds |f'| in h_t = f(W_hh h_{t-1} + ...), `norm` is the spectral norm of W_hh. 0 at the last time step.
    """
    lags = torch.arange(num_steps - 1, -1, -1, dtype=torch.float64)
    return torch.where(lags > 0, lags * torch.tensor(gamma * norm, dtype=torch.float64).log10(), 0)


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Consequences of the radius and norm of W_hh for h_t = f(W_hh h_{t-1} + ...), |f'| at most gamma.

    Attributes:
        gamma: Bound of |f'|.
        radius: Largest absolute eigenvalue of W_hh.
        norm: Largest singular value of W_hh.
        non_normality: Departure from normality, 0 to 1.
    """

    gamma: float
    radius: float
    norm: float
    non_normality: float

    @property
    def must_vanish(self) -> bool:
        """Whether gamma * norm < 1, sufficient: ||dh_t/dh_k|| <= (gamma norm)^(t-k) at every lag, for all inputs."""
        return self.gamma * self.norm < 1

    @property
    def may_explode(self) -> bool:
        """Whether gamma * norm > 1, necessary for growth; not sufficient, as f' is mostly below gamma."""
        return self.gamma * self.norm > 1

    @property
    def eigenvalues_below(self) -> bool:
        """Whether gamma * radius < 1, the condition of the lessons, which proves nothing at a finite lag.

        With f' = gamma at every step the product vanishes in the long run. With a changing f' it need not: diag(f') W
        can have larger eigenvalues than gamma W, and a W that is not normal lengthens vectors first.
        """
        return self.gamma * self.radius < 1


def conditions(matrix: Float[Tensor, "rows columns"], gamma: float) -> Conditions:
    """Compute both conditions for W_hh; raise ConfigError if the matrix is not square or not finite."""
    require_square("W_hh", matrix)
    if odd := int((~matrix.isfinite()).sum()):
        raise ConfigError(f"W_hh must hold finite numbers, got {odd} of {matrix.numel()} that are NaN or infinite.")
    radius, norm, departure = (float(figure(matrix)) for figure in (spectral_radius, spectral_norm, non_normality))
    return Conditions(gamma=gamma, radius=radius, norm=norm, non_normality=departure)
