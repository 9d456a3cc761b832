"""Norms of gradients, reduced in float64, and the facts that a norm hides."""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

KINDS = ("zero", "subnormal", "nan", "inf")
"""Kinds of a gradient's entries besides ordinary numbers: exactly zero, subnormal, NaN or infinite."""


def sequence_norms(adjoint: Float[Tensor, "time replica batch hidden"]) -> Float[Tensor, "time replica batch"]:
    """Return the norm of dL/dh_t of every sequence, as if its loss were not divided by the batch size.

    Reduced in float64: in float32 the norm of values near 1e-25 is 0, of values near 1e25 infinite.
    """
    return torch.linalg.vector_norm(adjoint, dim=-1, dtype=torch.float64) * adjoint.shape[2]


def parameter_norms(gradients: Iterable[Tensor]) -> Float[Tensor, "parameter replica"]:
    """Return each replica's norm over the entries of each gradient, in float64; finite exactly when every entry is."""
    return torch.stack([torch.linalg.vector_norm(each.flatten(1), dim=1, dtype=torch.float64) for each in gradients])


def replica_norms(gradients: Iterable[Tensor]) -> Float[Tensor, " replica"]:
    """Return each replica's norm over all entries of all gradients, in float64; finite exactly when every entry is."""
    return whole_norm(parameter_norms(gradients))


def whole_norm(norms: Float[Tensor, "parameter replica"]) -> Float[Tensor, " replica"]:
    """Return the norm over all parameters, given that of each."""
    return norms.square().sum(0).sqrt()


def count_kinds(adjoint: Float[Tensor, "time replica batch hidden"]) -> dict[str, Int[Tensor, " replica"]]:
    """Return by kind, of KINDS, how many entries of each replica are of that kind: four different facts.

    It reads bits, not values: a comparison would confuse the first two if the processor flushes subnormals to zero.
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
