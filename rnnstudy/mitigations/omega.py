"""Pascanu's regulariser for vanishing gradients."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, require_at_least, require_finite
from rnnstudy.mitigations.base import Backward, Diagnostics, Mitigation
from rnnstudy.models.base import Model
from rnnstudy.recurrence.activations import ACTIVATIONS
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.runs.tags import Meaning


@dataclass(frozen=True, kw_only=True)
class Omega(Mitigation):
    """Pascanu's regulariser: pull the gradient's norm at each time step towards that at the next one.

    With v_t = dL/dh_t (total, of a sequence) and v_t J_t, J_t = diag(f'(a_t)) W_hh, what it sends to h_{t-1},

        omega = (||v_t J_t|| / ||v_t|| - 1)^2        equation "norm" (9 in the paper)
        omega = (||v_t J_t||^2 / ||v_t||^2 - 1)^2    equation "squared" (10 in the paper, and its code)

    Reduction "sum" (the equations) sums over time steps and averages over the batch; "mean" (the code) averages over
    all time steps of all sequences that count: those where ||v_t||, as a gradient of the mean loss, is at least 1e-10.
    `weight` times the derivative with respect to W_hh, with v_t and f'(a_t) constant (the immediate derivative), is
    added to the gradient of W_hh. Nothing else is regularised. Give it before the clipping, which then sees it.

    Logged, as means since the last log entry: `omega/value` and `omega/counted`, the share of time steps that count.

    References:
        Pascanu, Mikolov & Bengio, 2013 (arXiv:1211.5063), section 3.3, for the pre-activations; the code, as here, for
        h_t. Weight 4, clipping at 1, learning rate 0.01 in the conference version; 2, 6 and 0.001 in the first.

    Args:
        weight: Factor of omega, at least 0; 0 is off.
        equation: Equation of the paper.
        reduction: Reduction over time steps.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "omega/value": Meaning("Pascanu's regulariser, before `weight`, mean since the last entry.", "1"),
        "omega/counted": Meaning("Share of the time steps that count, mean since the last entry.", "1"),
    }

    off: ClassVar[dict[str, float]] = {"weight": 0.0}
    felt: ClassVar[dict[str, float]] = {"weight": 4.0}

    weight: float = 4.0
    equation: Literal["squared", "norm"] = "squared"
    reduction: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        require_at_least("weight", self.weight, 0)
        require_finite("weight", self.weight)

    @override
    def require_suits(self, model: Model) -> None:
        cell = model.recurrence()
        if not isinstance(cell, RNNRecurrence) or cell.layer_norm or "weight_hh" in model.set_by_model:
            raise ConfigError(
                "it needs the Jacobian diag(f') W_hh of the vanilla recurrence, W_hh free and layer_norm=false."
            )

    @override
    @torch.no_grad()
    def after_backward(self, backward: Backward) -> Diagnostics:
        if self.weight == 0:
            return {}
        values, counted = [], []
        layers = zip(backward.network.recurrent_layers, backward.states, backward.adjoints, strict=True)
        for index, (layer, states, adjoints) in enumerate(layers):
            cell = layer.recurrence
            assert isinstance(cell, RNNRecurrence)
            weight_hh = layer.weights()["weight_hh"]
            slope = ACTIVATIONS[cell.nonlinearity].derivative(states[0])
            value, gradient, share = self.of_layer(adjoints["h"].total, slope, weight_hh)
            backward.gradients[f"layers.{index}.weight_hh"].add_(gradient, alpha=self.weight)
            values.append(value)
            counted.append(share)
        return {"omega/value": torch.stack(values).sum(0), "omega/counted": torch.stack(counted).mean(0)}

    def of_layer(
        self,
        adjoint: Float[Tensor, "time replica batch hidden"],
        slope: Float[Tensor, "time replica batch hidden"],
        weight_hh: Float[Tensor, "replica hidden hidden"],
    ) -> tuple[Float[Tensor, " replica"], Float[Tensor, "replica hidden hidden"], Float[Tensor, " replica"]]:
        """Return omega per replica, its immediate derivative for `weight_hh`, and the share of time steps that count.

        `adjoint` is dL/dh_t and `slope` f'(a_t), at every time step of one layer.
        """
        norms = torch.linalg.vector_norm(adjoint, dim=-1, keepdim=True, dtype=torch.float64)
        counts = norms >= SMALLEST
        # Only directions matter, so nothing underflows; steps that do not count have none.
        through = torch.where(counts, adjoint / norms, 0).to(adjoint.dtype) * slope
        rows = through.transpose(0, 1).flatten(1, 2)
        sent = torch.bmm(rows, weight_hh)
        size = torch.linalg.vector_norm(sent, dim=-1, keepdim=True, dtype=torch.float64)
        ratio = size if self.equation == "norm" else size.square()
        counting = counts.transpose(0, 1).flatten(1, 2)
        off = torch.where(counting, ratio - 1, 0)
        batch = adjoint.shape[2]
        total = counting.sum((1, 2)).clamp(min=1).double()
        divisor = total if self.reduction == "mean" else torch.full_like(total, batch)
        value = off.square().sum((1, 2)) / divisor
        # d ratio / d sent is sent / size, or 2 sent; a vector that J_t makes zero has no direction to grow in.
        slope_of_ratio = (1 / size).where(size > 0, 0) if self.equation == "norm" else 2.0
        of_sent = (2 * off * slope_of_ratio / divisor.view(-1, 1, 1)).to(sent.dtype) * sent
        return value, torch.bmm(rows.transpose(1, 2), of_sent), counting.double().mean((1, 2))


SMALLEST = 1e-10
"""Least norm of dL/dh_t of the mean loss for a time step to count, as in the paper's code."""
