"""The linear recurrent unit: a diagonal linear recurrence of complex numbers."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core import buffers
from rnnstudy.core.errors import ConfigError
from rnnstudy.recurrence.base import Adjoint, Direct, Recurrence, ScanOptions, States, Weights
from rnnstudy.recurrence.scan import (
    Carried,
    add_direct,
    after,
    per_step,
    project,
    read_out,
    refuse_second_derivative,
    reversed_spans,
    spans,
)


def eigenvalues(log_decay: Tensor, log_phase: Tensor) -> Tensor:
    """Lambda = exp(-exp(log_decay) + i exp(log_phase)), complex; its size is never above 1, whatever is learnt."""
    return torch.polar(torch.exp(-torch.exp(log_decay)), torch.exp(log_phase))


@dataclass(frozen=True, kw_only=True)
class LRURecurrence(Recurrence):
    """z_t = Lambda z_{t-1} + exp(log_scale) (B x_t), diagonal and complex; h_t holds real and imaginary part in turn.

    A state of n units is n / 2 complex numbers: units 2k and 2k + 1 are the real and the imaginary part of z_k, and
    rows 2k and 2k + 1 of weight_ih those of row k of B. A real linear map of h_t is Re(C z_t) with a complex C.
    Lambda = exp( -exp(log_decay) + i exp(log_phase)).

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
        return {
            "weight_ih": (hidden_size, input_size),
            "log_decay": half,
            "log_phase": half,
            "log_scale": half,
        }

    @override
    def scan(
        self,
        inputs: Float[Tensor, "time replica batch input"],
        state: States,
        weights: Weights,
        options: ScanOptions,
    ) -> tuple[States, Float[Tensor, "read replica batch hidden"]]:
        scale = weights["log_scale"].exp().repeat_interleave(2, dim=-1).unsqueeze(-1)
        projected = project(inputs, weights["weight_ih"] * scale)
        factor = torch.view_as_real(eigenvalues(weights["log_decay"], weights["log_phase"]))
        hidden, read = _DiagonalScan.apply(projected, state[0], factor, options)
        return (hidden,), read

    @override
    def recurrent_matrices(self, weights: Weights) -> dict[str, Float[Tensor, "replica hidden hidden"]]:
        value = eigenvalues(weights["log_decay"], weights["log_phase"])
        real, imaginary = torch.diag_embed(value.real), torch.diag_embed(value.imag)
        # Row 2k + i and column 2m + j: units 2k and 2k + 1 are the real and the imaginary part of z_k.
        pairs = torch.stack([torch.stack([real, -imaginary], -1), torch.stack([imaginary, real], -1)], -3)
        return {"eigenvalues": pairs.flatten(3, 4).flatten(1, 2)}


def _complex(values: Tensor) -> Tensor:
    return torch.view_as_complex(values.unflatten(-1, (-1, 2)))


class _DiagonalScan(torch.autograd.Function):
    @staticmethod
    @override
    def forward(ctx: Any, projected: Tensor, h0: Tensor, factor: Tensor, options: ScanOptions) -> tuple[Tensor, Tensor]:
        num_steps = len(projected)
        eigenvalue = torch.view_as_complex(factor).unsqueeze(1).clone()
        hidden = buffers.empty((num_steps + 1, *h0.shape), h0)
        hidden[0].copy_(h0)
        rows, states = _complex(projected.contiguous()), _complex(hidden)

        before = states[0]
        for steps in spans(num_steps):
            for row, z in zip(per_step(rows, steps), after(states, steps), strict=True):
                torch.addcmul(row, before, eigenvalue, out=z)
                before = z

        ctx.save_for_backward(hidden, eigenvalue)
        ctx.options = options
        ctx.set_materialize_grads(False)
        return hidden[1:], read_out(hidden[1:], options.read_steps)

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        hidden, eigenvalue = ctx.saved_tensors
        options = ctx.options
        direct = Direct(grad_outputs[0], options.read_steps, grad_outputs[1])
        like, num_steps = hidden[0], len(hidden) - 1
        carried = Carried(like, num_steps, recorded=options.recorder is not None)
        conjugate = eigenvalue.conj().resolve_conj()
        delta = torch.empty_like(hidden[1:])
        of_eigenvalue = torch.zeros_like(_complex(delta[0]))

        for steps in reversed_spans(num_steps):
            arriving, leaving = carried.views(steps)
            directs, deltas = direct.views(steps), delta[steps.start : steps.stop].unbind(0)
            for k in range(len(steps) - 1, -1, -1):
                total = add_direct(arriving[k], directs[k], out=deltas[k])
                if total is not deltas[k]:
                    deltas[k].copy_(total)
                torch.mul(_complex(total), conjugate, out=_complex(leaving[k]))
                if options.edit is not None:
                    options.edit.apply((leaving[k],), steps[k] - 1, num_steps)
            during = slice(steps.start, steps.stop)
            of_eigenvalue += (_complex(hidden[during]).conj() * _complex(delta[during])).sum(0)

        if options.recorder is not None:
            options.recorder.adjoints["h"] = Adjoint(carried=carried.values, source=direct)
        of_factor = torch.view_as_real(of_eigenvalue.sum(1))
        return delta, carried.initial, of_factor, None
