"""Activations as functions of one number, their derivatives, and how steep each can get.

The theory of vanishing gradients needs the bound gamma = max |f'| of an activation: a vanilla network's
||dh_t/dh_k|| is at most (gamma sigma_max(W_hh))^(t - k).

modReLU is missing: its learnt threshold, one per unit, makes it more than a function of one number. Where its output is
not 0, its derivative is 1.

References:
    Pascanu, Mikolov & Bengio, On the difficulty of training recurrent neural networks, 2013, arXiv:1211.5063,
        section 2.1: gamma, and its values 1/4 and 1 for sigmoid and tanh.
    Hendrycks & Gimpel, Gaussian error linear units, 2016, arXiv:1606.08415, section 2: GELU, here the exact one, SiLU.
    Clevert, Unterthiner & Hochreiter, Fast and accurate deep network learning by exponential linear units (ELUs), 2015,
        arXiv:1511.07289, section 3.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.optimize import minimize_scalar
from scipy.special import expit, ndtr

from rnnstudy.core.errors import ConfigError, suggest
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.recurrence.rnn import RNNRecurrence

LEAK = 0.01
"""Slope of `leaky_relu` below 0, torch's default."""
WIDEST = 50.0
"""Distance from 0 up to which `numeric_bound` searches."""

_UNIT_COTH = 1.19967864025773383
"""Solution y > 0 of y tanh y = 1; SiLU is steepest at 2y, with slope (1 + y) / 2."""
_ROOT_2 = math.sqrt(2)
_NORMAL_AT_0 = 1 / math.sqrt(2 * math.pi)


@dataclass(frozen=True, kw_only=True)
class ActivationCurve:
    """An activation f of one number, and its derivative.

    Attributes:
        name: Name in torch.nn.functional.
        formula: f(x) as printable text.
        function: f of an array.
        derivative: f' of an array, to a few units in the last place except near its own zeros, in the tails too. At a
            kink the value that torch takes.
        bound: gamma, the smallest number that |f'| nowhere exceeds, in closed form.
        bound_formula: The closed form as text.
        steepest: A point where |f'| equals `bound`; None where |f'| only approaches it as x grows.
    """

    name: str
    formula: str
    function: Callable[[np.ndarray], np.ndarray]
    derivative: Callable[[np.ndarray], np.ndarray]
    bound: float = 1.0
    bound_formula: str = "1"
    steepest: float | None = 0.0

    def value(self, x: float | Float64[np.ndarray, "*points"]) -> Float64[np.ndarray, "*points"]:
        """Return f(x), entry by entry."""
        return _entrywise(self.function, x)

    def slope(self, x: float | Float64[np.ndarray, "*points"]) -> Float64[np.ndarray, "*points"]:
        """Return f'(x), entry by entry."""
        return _entrywise(self.derivative, x)


@dataclass(frozen=True, kw_only=True)
class Tangent:
    """Line value + slope (x - point) that touches a curve at `point`; `value` and `slope` are those of the curve."""

    point: float
    value: float
    slope: float

    def height(self, x: Float64[np.ndarray, "*points"]) -> Float64[np.ndarray, "*points"]:
        """Return the line's height at x."""
        return np.asarray(self.value + self.slope * (x - self.point))


def find_curve(name: str) -> ActivationCurve:
    """Return the curve of an activation by name; raise ConfigError if there is none."""
    if name not in ACTIVATION_CURVES:
        raise ConfigError(f"activation '{name}' is not known. {suggest(name, ACTIVATION_CURVES)}")
    return ACTIVATION_CURVES[name]


def tangent(curve: ActivationCurve, point: float) -> Tangent:
    """Return the tangent of a curve at a point; raise ConfigError if the point is NaN or infinite."""
    if not math.isfinite(point):
        raise ConfigError(f"the point of a tangent must be a finite number, got {point}.")
    return Tangent(point=float(point), value=float(curve.value(point)), slope=float(curve.slope(point)))


def numeric_bound(curve: ActivationCurve) -> float:
    """Return the largest |f'| on [-50, 50]: on a grid of step 1/1000, then between the neighbours of its best point.

    It doesn't use `bound`, and is never above the true maximum, except by rounding.
    """
    grid = np.linspace(-WIDEST, WIDEST, 100_001)
    steepness = np.abs(curve.slope(grid))
    best = int(steepness.argmax())
    around, options = (float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)])), {"xatol": 1e-9}
    refined = minimize_scalar(lambda x: -abs(float(curve.slope(x))), bounds=around, method="bounded", options=options)
    return max(float(steepness[best]), -float(refined.fun))


def _entrywise(function: Callable[[np.ndarray], np.ndarray], x: float | np.ndarray) -> np.ndarray:
    """Apply a function of arrays to an array or a single number."""
    return function(np.atleast_1d(np.asarray(x, dtype=np.float64))).reshape(np.shape(x))


def _tanh_slope(x: np.ndarray) -> np.ndarray:
    doubled = 2 * np.clip(x, -400, 400)  # exactly 0 at 400 already
    return 4 * expit(doubled) * expit(-doubled)  # 1 - tanh(x)^2 is 0 from x = 19 on, 1 / cosh(x)^2 overflows


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def _gelu_slope(x: np.ndarray) -> np.ndarray:
    density = _NORMAL_AT_0 * np.exp(-np.square(np.clip(x, -WIDEST, WIDEST)) / 2)  # exactly 0 at 50 already
    return ndtr(x) + x * density


_CURVES = (
    ActivationCurve(
        name="sigmoid",
        formula="1 / (1 + exp(-x))",
        function=expit,
        derivative=lambda x: expit(x) * expit(-x),
        bound=0.25,
        bound_formula="1/4",
    ),
    ActivationCurve(name="tanh", formula="tanh(x)", function=np.tanh, derivative=_tanh_slope),
    ActivationCurve(
        name="relu",
        formula="max(0, x)",
        function=lambda x: np.maximum(x, 0),
        derivative=lambda x: np.where(x > 0, 1.0, 0.0),
        steepest=1.0,
    ),
    ActivationCurve(name="identity", formula="x", function=np.copy, derivative=np.ones_like),
    ActivationCurve(
        name="hardtanh",
        formula="min(1, max(-1, x))",
        function=lambda x: np.clip(x, -1, 1),
        derivative=lambda x: np.where(np.abs(x) < 1, 1.0, 0.0),
    ),
    ActivationCurve(
        name="leaky_relu",
        formula=f"x if x > 0 else {LEAK} x",
        function=lambda x: np.where(x > 0, x, LEAK * x),
        derivative=lambda x: np.where(x > 0, 1.0, LEAK),
        steepest=1.0,
    ),
    ActivationCurve(name="softplus", formula="log(1 + exp(x))", function=_softplus, derivative=expit, steepest=None),
    ActivationCurve(
        name="elu",
        formula="x if x > 0 else exp(x) - 1",
        function=lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        derivative=lambda x: np.exp(np.minimum(x, 0)),
    ),
    ActivationCurve(
        name="silu",
        formula="x / (1 + exp(-x))",
        function=lambda x: x * expit(x),
        derivative=lambda x: expit(x) * (1 + x * expit(-x)),
        bound=(1 + _UNIT_COTH) / 2,
        bound_formula="(1 + y) / 2, y tanh(y) = 1",
        steepest=2 * _UNIT_COTH,
    ),
    ActivationCurve(
        name="gelu",
        formula="x Phi(x), Phi of the normal distribution",
        function=lambda x: x * ndtr(x),
        derivative=_gelu_slope,
        bound=float(ndtr(_ROOT_2)) + _ROOT_2 * _NORMAL_AT_0 / math.e,
        bound_formula="Phi(√2) + √2 phi(√2)",
        steepest=_ROOT_2,
    ),
    ActivationCurve(
        name="softsign",
        formula="x / (1 + |x|)",
        function=lambda x: x / (1 + np.abs(x)),
        derivative=lambda x: np.square(1 / (1 + np.abs(x))),
    ),
)

ACTIVATION_CURVES: dict[str, ActivationCurve] = {curve.name: curve for curve in _CURVES}
"""All activations by name."""


def gamma_of(cell: Recurrence) -> float | None:
    """Return the bound of |f'| of a vanilla recurrence h_t = f(W_hh h_{t-1} + ...); None for all others."""
    if isinstance(cell, RNNRecurrence) and not cell.layer_norm:
        # modReLU has slope 0 or 1 at any threshold.
        return 1.0 if cell.nonlinearity == "modrelu" else ACTIVATION_CURVES[cell.nonlinearity].bound
    return None
