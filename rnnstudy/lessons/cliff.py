"""The cliff: a network of one unit whose error surface has a wall, and gradient descent that runs into it.

x_t = w sigmoid(x_{t-1}) + b, x_0 = 1/2, E = (sigmoid(x_50) - 0.7)^2. On the line b = 1/2 - w sigmoid(1/2) every x_t is
1/2 and dx_50/dx_0 = (w sigmoid'(1/2))^50. Above w = 1 / sigmoid'(1/2) = 4.255 this fixed point is unstable: x_50 is on
one side of the line near an upper fixed point, on the other near a lower one, and E jumps. That jump is the wall.

References:
    Pascanu, Mikolov & Bengio, On the difficulty of training recurrent neural networks, 2013 (arXiv:1211.5063), section
    2.3 and figure 6: the network, its error and the wall. The start and learning rate below are ours.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rnnstudy.core.errors import require_finite, require_limit, require_size

START_STATE = 0.5
NUM_STEPS = 50
TARGET = 0.7


@dataclass(frozen=True, kw_only=True, eq=False)
class Cliff:
    """The error and its exact gradient at every point.

    Attributes:
        error: E.
        of_w: dE/dw.
        of_b: dE/db.
        state_gain: dx_50/dx_0.
    """

    error: Float64[np.ndarray, "*points"]
    of_w: Float64[np.ndarray, "*points"]
    of_b: Float64[np.ndarray, "*points"]
    state_gain: Float64[np.ndarray, "*points"]

    @property
    def norm(self) -> Float64[np.ndarray, "*points"]:
        """Length of the gradient (dE/dw, dE/db)."""
        return np.hypot(self.of_w, self.of_b)


def cliff(w: Float64[np.ndarray, "*points"], b: Float64[np.ndarray, "*points"]) -> Cliff:
    """Return the error at every point (w, b), with the derivatives carried forward along the chain rule.

    dx_t/dw = sigmoid(x_{t-1}) + w sigmoid'(x_{t-1}) dx_{t-1}/dw; dx_t/db and dx_t/dx_0 likewise.
    """
    x = np.full_like(w, START_STATE)
    of_w, of_b, of_start = np.zeros_like(x), np.zeros_like(x), np.ones_like(x)
    for _ in range(NUM_STEPS):
        y, slope = _sigmoid(x)
        x, jacobian = w * y + b, w * slope
        of_w, of_b, of_start = y + jacobian * of_w, 1 + jacobian * of_b, jacobian * of_start
    y, slope = _sigmoid(x)
    outer = 2 * (y - TARGET) * slope
    return Cliff(error=(y - TARGET) ** 2, of_w=outer * of_w, of_b=outer * of_b, state_gain=of_start)


def wall(w: Float64[np.ndarray, "*points"]) -> Float64[np.ndarray, "*points"]:
    """Return the b at which 1/2 is a fixed point: the foot of the wall where w is above 4.255."""
    return START_STATE - w * _sigmoid(np.full_like(w, START_STATE))[0]


def _sigmoid(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sigmoid and its derivative, without overflow at any x."""
    y = 0.5 * (1 + np.tanh(0.5 * x))
    return y, y * (1 - y)


@dataclass(frozen=True, kw_only=True, eq=False)
class Descent:
    """A path of gradient descent, from its start to the point after the last update.

    Attributes:
        points: w and b of every point.
        error: E of every point.
        norm: Length of the gradient at every point, before clipping.
        clipped: Number of updates that were clipped.
    """

    points: Float64[np.ndarray, "point 2"]
    error: Float64[np.ndarray, " point"]
    norm: Float64[np.ndarray, " point"]
    clipped: int


def descend(
    start: tuple[float, float], *, learning_rate: float, num_updates: int, max_norm: float = math.inf
) -> Descent:
    """Return a path of plain gradient descent; a gradient longer than `max_norm` is scaled to that length.

    Raises:
        ConfigError: The learning rate is not finite, there are no updates, or the norm is not above 0.
    """
    require_finite("learning_rate", learning_rate)
    require_size("num_updates", num_updates, 1)
    require_limit("max_norm", max_norm)
    points = [np.array(start)]
    found = [cliff(points[0][:1], points[0][1:])]
    for _ in range(num_updates):
        gradient, norm = np.concatenate([found[-1].of_w, found[-1].of_b]), float(found[-1].norm[0])
        points.append(points[-1] - learning_rate * (gradient * (max_norm / norm) if norm > max_norm else gradient))
        found.append(cliff(points[-1][:1], points[-1][1:]))
    norms = np.concatenate([each.norm for each in found])
    return Descent(
        points=np.array(points),
        error=np.concatenate([each.error for each in found]),
        norm=norms,
        clipped=int((norms[:-1] > max_norm).sum()),
    )
