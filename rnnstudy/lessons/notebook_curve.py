"""A lecture notebook's curve of "the gradient's largest entry", and the Jacobian product that it meant to show.

The network h_i = sigmoid(W_hh h_{i-1} + W_hx x_i + b) has 5 units and 20 time steps. All is drawn from NumPy's legacy
seed 12345, which reproduces the notebook's figures digit by digit.

Its curve is not the product of Jacobians dh_i/dh_{i-1} = diag(sigmoid'(a_i)) W_hh, for four reasons:

1. Adding the column b, shape (5, 1), to a vector makes a 5 x 5 matrix. `diag` of a *matrix* extracts the diagonal (by
   luck the right vector, sigmoid'(a_i)); `diag` of a vector would have made the diagonal matrix of the formula. So
   W_hh^T diag(sigmoid'(a_i)) became a vector, W_hh^T sigmoid'(a_i): the Jacobian's *column sums*.
2. `*` multiplies such vectors entry by entry, so no unit's past reaches another unit. The chain rule multiplies
   matrices: each entry of their product adds up all paths from unit to unit.
3. The largest entry is taken with its sign: -5.1e-4 counts as less than 1.3e-14. This happens at k = 1, where the curve
   therefore ends near the truth, 5.4e-14, by chance.
4. `@` and true diagonal matrices alone would not correct it. The loop runs from the last step to the first and puts
   each W_hh^T diag(sigmoid'(a_i)) to the right of the previous ones; transposed Jacobians belong in the opposite order.
   That product has the spectral norm 1.68e-13 at k = 1, three times too large: matrices do not commute.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

SEED = 12345
HIDDEN_SIZE = 5
NUM_STEPS = 20
LARGEST_SLOPE = 0.25
"""The sigmoid's largest derivative, at 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NotebookCurve:
    """The notebook's curve, the truth beside it, and the two conditions that should explain it.

    Entry k - 1 of each curve belongs to step k = 1..20. As in the notebook, step k stands for the product of the 21 - k
    Jacobians J_i = dh_i/dh_{i-1} = diag(sigmoid'(a_i)) W_hh of steps i = k..20, dh_20/dh_{k-1}, and J_i is taken at a
    random state, not at the outcome of earlier steps.

    Args:
        published: The notebook's plot, *not* a Jacobian product: max over j of prod_i (W_hh^T sigmoid'(a_i))_j.
        published_size: The same without the sign: max over j of |prod_i (W_hh^T sigmoid'(a_i))_j|.
        true_norm: Spectral norm of the product of Jacobians: the most that a gradient can keep of its length.
        true_largest: Largest absolute entry of the product of Jacobians.
        input_norm: Spectral norm of dh_20/dx_k = J_20 ... J_{k+1} diag(sigmoid'(a_k)) W_hx, one factor J fewer.
        bound: (sigma_max(W_hh) / 4)^(21 - k). Proven: `true_norm` is never above it.
        input_bound: (sigma_max(W_hh) / 4)^(20 - k) sigma_max(W_hx) / 4. Proven: `input_norm` is never above it.
        eigenvalue_rule: (largest |eigenvalue of W_hh| / 4)^(21 - k), suggested by the condition on eigenvalues. It
            proves nothing for 20 steps: `true_norm` can lie above it.
        eigenvalues: Eigenvalues of W_hh, as drawn.
        spectral_norm: sigma_max(W_hh), the largest singular value.
        weight_hh: W_hh = Q diag(eigenvalues) Q^-1.
        weight_hx: W_hx.
    """

    published: Float64[np.ndarray, " time"]
    published_size: Float64[np.ndarray, " time"]
    true_norm: Float64[np.ndarray, " time"]
    true_largest: Float64[np.ndarray, " time"]
    input_norm: Float64[np.ndarray, " time"]
    bound: Float64[np.ndarray, " time"]
    input_bound: Float64[np.ndarray, " time"]
    eigenvalue_rule: Float64[np.ndarray, " time"]
    eigenvalues: Float64[np.ndarray, " hidden"]
    spectral_norm: float
    weight_hh: Float64[np.ndarray, "hidden hidden"]
    weight_hx: Float64[np.ndarray, "hidden input"]


def notebook_curve(case: Literal["below", "above"]) -> NotebookCurve:
    """Compute the notebook's curve and the true one for eigenvalues below or above 4, the sigmoid's 1 / (1/4).

    "below": h, x (5, 20), b (5, 1), W_hx (5, 5) standard normal, eigenvalues uniform in [0, 4), Q standard normal.
    The published values are 1.304390e-14 at k = 1 and 1.207213e+00 at k = 20.
    "above": the same seed again; h, x, b zero, so that every sigmoid' is exactly 1/4; W_hx likewise, eigenvalues
    uniform in [4, 14). Only a picture is published.

    Args:
        case: One of the notebook's two experiments.

    Returns:
        Curves over k = 1..20.

    References:
        A lecture notebook on vanishing and exploding gradients; its condition is that of Pascanu, Mikolov & Bengio, On
        the difficulty of training recurrent neural networks, 2013 (arXiv:1211.5063), section 2.1, which has the largest
        singular value where the notebook has the largest eigenvalue.
    """
    # The published digits came from the legacy stream, which NumPy keeps unchanged.
    draws = np.random.RandomState(SEED)
    shapes = ((HIDDEN_SIZE, NUM_STEPS), (HIDDEN_SIZE, NUM_STEPS), (HIDDEN_SIZE, 1))
    h, x, b = (draws.randn(*shape) if case == "below" else np.zeros(shape) for shape in shapes)
    weight_hx = draws.randn(HIDDEN_SIZE, HIDDEN_SIZE)
    uniform = draws.rand(HIDDEN_SIZE)
    eigenvalues = 4 * uniform if case == "below" else 4 + 10 * uniform
    q = draws.randn(HIDDEN_SIZE, HIDDEN_SIZE)
    weight_hh = q @ np.diag(eigenvalues) @ np.linalg.inv(q)

    sigmoid = 1 / (1 + np.exp(-(weight_hh @ h + weight_hx @ x + b)))
    slopes = (sigmoid * (1 - sigmoid)).T
    # The notebook's vectors W_hh^T sigmoid'(a_i), i = 20 down to k, multiplied entry by entry; one row per k.
    entrywise = np.cumprod((slopes @ weight_hh)[::-1], axis=0)[::-1]
    products, input_products = _jacobian_products(weight_hh, weight_hx, slopes)

    factors = np.arange(NUM_STEPS, 0, -1)
    spectral_norm = float(np.linalg.norm(weight_hh, 2))
    growth = LARGEST_SLOPE * spectral_norm
    return NotebookCurve(
        published=entrywise.max(axis=1),
        published_size=np.abs(entrywise).max(axis=1),
        true_norm=np.linalg.norm(products, 2, axis=(1, 2)),
        true_largest=np.abs(products).max(axis=(1, 2)),
        input_norm=np.linalg.norm(input_products, 2, axis=(1, 2)),
        bound=growth**factors,
        input_bound=growth ** (factors - 1) * LARGEST_SLOPE * float(np.linalg.norm(weight_hx, 2)),
        eigenvalue_rule=(LARGEST_SLOPE * np.abs(eigenvalues).max()) ** factors,
        eigenvalues=eigenvalues,
        spectral_norm=spectral_norm,
        weight_hh=weight_hh,
        weight_hx=weight_hx,
    )


def _jacobian_products(
    weight_hh: Float64[np.ndarray, "hidden hidden"],
    weight_hx: Float64[np.ndarray, "hidden input"],
    slopes: Float64[np.ndarray, "time hidden"],
) -> tuple[Float64[np.ndarray, "time hidden hidden"], Float64[np.ndarray, "time hidden input"]]:
    """Return dh_20/dh_{k-1} = J_20 ... J_k and dh_20/dx_k = J_20 ... J_{k+1} diag(sigmoid'(a_k)) W_hx, one per k."""
    products, input_products = [], []
    later = np.eye(len(weight_hh))
    for slope in slopes[::-1]:
        input_products.append(later @ np.diag(slope) @ weight_hx)
        later = later @ np.diag(slope) @ weight_hh
        products.append(later)
    return np.array(products[::-1]), np.array(input_products[::-1])
