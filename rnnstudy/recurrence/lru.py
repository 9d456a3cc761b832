"""Linear recurrent unit: a diagonal linear recurrence of complex numbers."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core import buffers
from rnnstudy.core.errors import ConfigError
from rnnstudy.recurrence import scan
from rnnstudy.recurrence.base import States, Weights


def eigenvalues(log_decay: Tensor, log_phase: Tensor) -> Tensor:
    """Return Lambda = exp(-exp(log_decay) + i exp(log_phase)), complex; |Lambda| never exceeds 1."""
    return torch.polar(torch.exp(-torch.exp(log_decay)), torch.exp(log_phase))


@dataclass(frozen=True, kw_only=True)
class LRURecurrence(scan.Scanned):
    """z_t = Lambda z_{t-1} + exp(log_scale) (B x_t), diagonal and complex; Lambda as in `eigenvalues`.

    A state of n units is n / 2 complex numbers: units 2k and 2k + 1 of h_t are the real and the imaginary part of z_k,
    and rows 2k and 2k + 1 of weight_ih those of row k of B. A real linear map of h_t is Re(C z_t) with a complex C.

    References:
        Orvieto et al., Resurrecting recurrent neural networks for long sequences, 2023 (arXiv:2303.06349), section 3
        and appendix A; without the map D from inputs to outputs.
    """

    @override
    def shapes(self, input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        if hidden_size % 2:
            raise ConfigError(
                f"hidden_size must be even for lru, whose units are real and imaginary parts, got {hidden_size}."
            )
        half = (hidden_size // 2,)
        return {"weight_ih": (hidden_size, input_size), "log_decay": half, "log_phase": half, "log_scale": half}

    @override
    def prepared(
        self, inputs: Float[Tensor, "time replica batch input"], weights: Weights
    ) -> tuple[Float[Tensor, "time replica batch hidden"], Weights]:
        scale = weights["log_scale"].exp().repeat_interleave(2, dim=-1).unsqueeze(-1)
        factor = torch.view_as_real(eigenvalues(weights["log_decay"], weights["log_phase"]))
        return scan.project(inputs, weights["weight_ih"] * scale), {"factor": factor}

    @override
    def forward_scan(
        self, inputs: Float[Tensor, "time replica batch hidden"], state: States, weights: Weights, *, keep: bool
    ) -> scan.ForwardScan:
        (h0,), num_steps = state, len(inputs)
        eigenvalue = torch.view_as_complex(weights["factor"]).unsqueeze(1).clone()
        hidden = buffers.empty((num_steps + 1, *h0.shape), h0)
        hidden[0].copy_(h0)
        states = _complex(hidden)

        before = states[0]
        for row, z in scan.step_by_step(num_steps, _complex(inputs.contiguous()), states[1:]):
            torch.addcmul(row, before, eigenvalue, out=z)
            before = z
        return scan.ForwardScan(states=(hidden[1:],), kept=(hidden, eigenvalue))

    @override
    def backward_scan(self, back: scan.BackwardScan) -> scan.Gradients:
        hidden, eigenvalue = back.kept
        conjugate = eigenvalue.conj().resolve_conj()
        delta = torch.empty_like(hidden[1:])
        of_eigenvalue = torch.zeros_like(_complex(back.like))

        for steps in reversed(scan.spans(back.num_steps)):
            during = slice(steps.start, steps.stop)
            deltas = delta[during].unbind(0)
            for k, total, leaving in back.steps(steps, totals=deltas):
                if total is not deltas[k]:
                    deltas[k].copy_(total)
                torch.mul(_complex(total), conjugate, out=_complex(leaving))
            of_eigenvalue += (_complex(hidden[during]).conj() * _complex(delta[during])).sum(0)

        return delta, (back.carried.initial,), {"factor": torch.view_as_real(of_eigenvalue.sum(1))}

    @override
    def recurrent_matrices(self, weights: Weights) -> dict[str, Float[Tensor, "replica hidden hidden"]]:
        value = eigenvalues(weights["log_decay"], weights["log_phase"])
        real, imaginary = torch.diag_embed(value.real), torch.diag_embed(value.imag)
        # Row 2k + i and column 2m + j: units 2k and 2k + 1 are the real and the imaginary part of z_k.
        pairs = torch.stack([torch.stack([real, -imaginary], -1), torch.stack([imaginary, real], -1)], -3)
        return {"eigenvalues": pairs.flatten(3, 4).flatten(1, 2)}


def _complex(values: Tensor) -> Tensor:
    return torch.view_as_complex(values.unflatten(-1, (-1, 2)))
