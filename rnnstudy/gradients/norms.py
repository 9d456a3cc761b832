"""Norms of gradients, reduced in float64, and the facts that a norm hides."""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

KINDS = ("zero", "subnormal", "nan", "inf")
"""Kinds of a gradient's entries besides ordinary numbers."""


def sequence_norms(adjoint: Float[Tensor, "time replica batch hidden"]) -> Float[Tensor, "time replica batch"]:
    """Compute the norm of dL/dh_t of every sequence, as if its loss were not divided by the batch size.

    Returns:
        Norms, reduced in float64: in float32 the norm of values near 1e-25 is 0, of values near 1e25 infinite.
    """
    return torch.linalg.vector_norm(adjoint, dim=-1, dtype=torch.float64) * adjoint.shape[2]


def replica_norms(gradients: Iterable[Tensor]) -> Float[Tensor, " replica"]:
    """Return each replica's norm over all entries of all gradients, in float64; finite exactly when every entry is."""
    squares = [
        torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64).square() for gradient in gradients
    ]
    return torch.stack(squares).sum(0).sqrt()


def count_kinds(adjoint: Float[Tensor, "time replica batch hidden"]) -> dict[str, Int[Tensor, " replica"]]:
    """Count, per replica, the entries that are exactly zero, subnormal, NaN or infinite: four different facts.

    It reads bits, not values: a comparison would confuse the first two if the processor flushes subnormals to zero.

    Returns:
        Counts by kind, one of KINDS.
    """
    bits, magnitude, infinity = _BIT_LAYOUT[adjoint.dtype]
    patterns = adjoint.view(bits) & magnitude
    smallest_normal = _pattern(torch.finfo(adjoint.dtype).smallest_normal, adjoint.dtype)
    kinds = {
        "zero": patterns == 0,
        "subnormal": (patterns > 0) & (patterns < smallest_normal),
        "nan": patterns > infinity,
        "inf": patterns == infinity,
    }
    return {kind: found.sum(dim=(0, 2, 3)) for kind, found in kinds.items()}


def _pattern(value: float, dtype: torch.dtype) -> int:
    return int(torch.tensor(value, dtype=dtype).view(_INTEGERS[dtype]))


_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}
_BIT_LAYOUT = {
    dtype: (integer, torch.iinfo(integer).max, _pattern(float("inf"), dtype)) for dtype, integer in _INTEGERS.items()
}
"""By dtype: the integer of its width, the mask that drops the sign, the pattern of infinity."""
