"""Batched matrix products by the faster of torch's libraries.

oneDNN, which torch includes but does not use for float32 products, is up to twice as fast as the BLAS for large
products on a processor with AVX-512. The choice depends only on the sizes of one replica. The BLAS still rounds some
sizes differently when more replicas are stacked.
"""

import torch
from jaxtyping import Float
from torch import Tensor

MANY = 1 << 20
"""Fewest multiplications in one replica's product for which oneDNN is worth its overhead."""

_HAS_ONEDNN = (
    torch.backends.mkldnn.is_available()
    and torch.backends.cpu.get_cpu_capability() == "AVX512"
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)


def _by_onednn(like: Tensor, multiplications: int) -> bool:
    suits = like.device.type == "cpu" and like.dtype == torch.float32
    return suits and _HAS_ONEDNN and multiplications >= MANY


def _linear(rows: Tensor, weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(rows, weight, None, "none", [], "")


class StepProduct:
    """Products rows · weightᵀ for the rows of one time step, with weights that stay the same for all steps."""

    def __init__(self, weight: Float[Tensor, "replica output input"], batch_size: int) -> None:
        """Prepare the weights for rows of `batch_size`."""
        self._transposed = weight.transpose(1, 2)
        self._packed = None
        if _by_onednn(weight, batch_size * weight[0].numel()):
            reorder = torch.ops.mkldnn._reorder_linear_weight
            self._packed = [reorder(each.contiguous(), batch_size) for each in weight]

    def __call__(
        self, rows: Float[Tensor, "replica batch input"], out: Float[Tensor, "replica batch output"]
    ) -> Float[Tensor, "replica batch output"]:
        """Multiply into `out`."""
        if self._packed is None:
            return torch.bmm(rows, self._transposed, out=out)
        for one, weight, into in zip(rows, self._packed, out, strict=True):
            into.copy_(_linear(one, weight))
        return out


def add_products(
    total: Float[Tensor, "replica left right"],
    left: Float[Tensor, "time replica batch left"],
    right: Float[Tensor, "replica time_batch right"],
) -> None:
    """Add the sum of leftᵀ right over time steps and batch to `total`, in place.

    `right` should be dense: oneDNN is slow on a slice of wider rows.
    """
    time, replicas, batch, width = left.shape
    if not _by_onednn(total, right[0].numel() * width):
        total.baddbmm_(left.permute(1, 3, 0, 2).flatten(2), right)
        return
    turned = left.permute(1, 3, 0, 2).reshape(replicas, width, time * batch)
    for into, one, other in zip(total, turned, right.transpose(1, 2), strict=True):
        into.add_(_linear(one, other))
