"""Powers: the remainder of a gradient when one factor, or one matrix, alone acts on it at every step.

Without a nonlinearity, h_t = W h_{t-1} + W_x x_t, every Jacobian dh_t/dh_{t-1} is W itself. A gradient is written as a
row: dJ/dh_{t-n} = dJ/dh_t W^n.

References:
    An article that derives the bound (gamma lambda)^(t-k), with 0.5^10 and 2^10; a lesson on the linear case, with
    dJ_4/dh_1 = dJ_4/dh_4 W^3 and the matrix below.
"""

import numpy as np
from jaxtyping import Float64

from rnnstudy.core.errors import require_finite, require_size

LESSON_MATRIX = ((0.5, 0.01), (0.3, 0.5))
"""W of the lesson; its third power is [[.1295, .00753], [.2259, .1295]]."""


def lesson_matrix() -> Float64[np.ndarray, "hidden hidden"]:
    """Return W of the lesson as a new array."""
    return np.array(LESSON_MATRIX)


def scalar_powers(factor: float, num_steps: int) -> Float64[np.ndarray, " lag"]:
    """Return factor^n, n = 0..num_steps: a gradient of 1 after n steps back through one unit without nonlinearity.

    `factor` is gamma lambda in the bound. Powers are 0 below 5e-324 and infinite above 1.8e308. A `factor` that is not
    finite, or `num_steps` out of range, raises ConfigError.

    >>> print(scalar_powers(2.0, 10)[10], scalar_powers(0.5, 10)[10])
    1024.0 0.0009765625
    """
    require_finite("factor", factor)
    require_size("num_steps", num_steps, 0)
    with np.errstate(over="ignore", under="ignore"):
        return np.float64(factor) ** np.arange(num_steps + 1)


def matrix_powers(
    matrix: Float64[np.ndarray, "hidden hidden"], num_steps: int
) -> Float64[np.ndarray, "lag hidden hidden"]:
    """Return W^n, n = 0..num_steps, each from the one before: the Jacobian dh_t/dh_{t-n} of a linear network.

    Entries beyond 1.8e308 are infinite, and NaN where two such cancel. A negative `num_steps` raises ConfigError.

    >>> print(matrix_powers(lesson_matrix(), 3)[3])
    [[0.1295  0.00753]
     [0.2259  0.1295 ]]
    """
    return _multiplied(np.eye(len(matrix)), matrix, num_steps)


def gradients_back(
    last_gradient: Float64[np.ndarray, " hidden"], matrix: Float64[np.ndarray, "hidden hidden"], num_steps: int
) -> Float64[np.ndarray, "lag hidden"]:
    """Return dJ_t/dh_{t-n} = dJ_t/dh_t W^n of a linear network, row n = 0..num_steps; the lesson's dJ_4/dh_1 is n = 3.

    A step costs one vector times matrix, as in backpropagation: no power of W is computed. A negative `num_steps`
    raises ConfigError.
    """
    return _multiplied(last_gradient, matrix, num_steps)


def _multiplied(start: np.ndarray, matrix: np.ndarray, num_steps: int) -> np.ndarray:
    require_size("num_steps", num_steps, 0)
    products = [start]
    with np.errstate(all="ignore"):
        for _ in range(num_steps):
            products.append(products[-1] @ matrix)
    return np.array(products)
