"""Layer normalisation inside a scan, of every block of pre-activations by itself."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from rnnstudy.core import buffers

EPSILON = 1e-5
"""Added to the variance, as in torch.nn.LayerNorm."""


class LayerNorm:
    """a -> gain * (a - mean(a)) / std(a) + bias, over the units of each block of pre-activations.

    Mean and variance are those of one sequence at one time step. The pre-activations have no bias before this one.
    """

    def __init__(
        self,
        gain: Float[Tensor, "replica rows"],
        bias: Float[Tensor, "replica rows"],
        like: Float[Tensor, "replica batch hidden"],
        *,
        num_steps: int,
        factors: Sequence[int],
    ) -> None:
        """Make room for `num_steps` steps, 1 without gradients; `factors` multiply the result of each block."""
        self._size, blocks = like.shape[-1], len(factors)
        self._gain = gain.unsqueeze(1).clone()
        factor = gain.new_tensor(factors).repeat_interleave(self._size)
        self._times, self._plus = self._gain * factor, bias.unsqueeze(1) * factor
        self._normal = buffers.empty((num_steps, *like.shape[:2], blocks, self._size), like)
        self._scale = buffers.empty((num_steps, *like.shape[:2], blocks, 1), like)
        self._of_gain = self._of_bias = torch.empty_like(gain)
        self._zero, self._one = torch.zeros_like(self._scale[0]), torch.ones_like(self._scale[0])

    def forward(self, time_step: int, values: Tensor, first: int = 0) -> Tensor:
        """Normalise a step's pre-activations, (replica, batch, rows), in place, from the block `first` on."""
        kept = time_step if len(self._normal) > 1 else 0
        last = first + values.shape[-1] // self._size
        rows = slice(first * self._size, last * self._size)
        normal, _, scale = torch.native_layer_norm(
            values.unflatten(-1, (-1, self._size)), [self._size], None, None, EPSILON
        )
        self._normal[kept, :, :, first:last].copy_(normal)
        self._scale[kept, :, :, first:last].copy_(scale)
        return torch.addcmul(self._plus[..., rows], normal.flatten(-2), self._times[..., rows], out=values)

    def begin_backward(self) -> None:
        """Begin a way back through all steps."""
        shape = (*self._normal.shape[1:3], self._gain.shape[-1])
        self._of_gain, self._of_bias = self._gain.new_zeros(shape), self._gain.new_zeros(shape)

    def backward(self, time_step: int, delta: Float[Tensor, "replica batch rows"]) -> Tensor:
        """Turn the adjoint of what `forward` returned, without factors, into that of its input, in place."""
        normal = self._normal[time_step]
        self._of_gain.addcmul_(delta, normal.flatten(-2))
        self._of_bias.add_(delta)
        through = (delta * self._gain).unflatten(-1, (-1, self._size))
        # Take the normalised values for the original ones: their mean is 0 and their scale 1.
        through, _, _ = torch.ops.aten.native_layer_norm_backward(
            through, normal, [self._size], self._zero, self._one, None, None, [True, False, False]
        )
        torch.mul(through, self._scale[time_step], out=delta.unflatten(-1, (-1, self._size)))
        return delta

    def gradients(self) -> tuple[dict[str, Float[Tensor, "replica rows"]], Float[Tensor, "replica rows"]]:
        """Return the gradients of the gain, by its name, and of the bias, after all steps back."""
        return {"gain": self._of_gain.sum(1)}, self._of_bias.sum(1)


def norm_of(
    gain: Float[Tensor, "replica rows"] | None,
    bias: Float[Tensor, "replica rows"],
    like: Float[Tensor, "replica batch hidden"],
    *,
    num_steps: int,
    factors: Sequence[int],
) -> tuple[LayerNorm | None, Float[Tensor, "replica rows"]]:
    """Return the `LayerNorm` of a gain, None without one, and the bias that is left to be added without it."""
    if gain is None:
        return None, bias
    return LayerNorm(gain, bias, like, num_steps=num_steps, factors=factors), torch.zeros_like(bias)


def normalise(
    sums: Float[Tensor, "time replica batch rows"],
    bias: Float[Tensor, "replica rows"],
    gain: Float[Tensor, "replica rows"] | None,
    *,
    blocks: int,
) -> Float[Tensor, "time replica batch rows"]:
    """Normalise all time steps at once as a `LayerNorm` of so many blocks does; without a gain only add the biases."""
    if gain is None:
        return sums + bias.unsqueeze(1)
    time, _, batch, rows = sums.shape
    # Time joins the batch: every sequence at every time step is normalised by itself.
    folded = sums.transpose(0, 1).flatten(1, 2)
    norm = LayerNorm(gain, bias, folded[..., : rows // blocks], num_steps=1, factors=[1] * blocks)
    return norm.forward(0, folded).unflatten(1, (time, batch)).transpose(0, 1)
