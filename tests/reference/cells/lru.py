"""A complex number for every two units."""

import torch
from reference.cells.base import Params, Visit
from torch import Tensor

from rnnstudy.recurrence.base import States
from rnnstudy.recurrence.lru import LRURecurrence


def as_complex(pairs: Tensor) -> Tensor:
    """Real and imaginary parts in turn, along the last axis, as half as many complex numbers."""
    return torch.complex(pairs[..., 0::2], pairs[..., 1::2])


def lru_eigenvalues(log_decay: Tensor, log_phase: Tensor) -> Tensor:
    """Lambda = exp(-exp(log_decay) + i exp(log_phase))."""
    return torch.exp(torch.complex(-log_decay.exp(), log_phase.exp()))


def step(cell: LRURecurrence, x: Tensor, state: States, params: Params, visit: Visit) -> States:
    (h,) = state
    eigenvalues = lru_eigenvalues(params["log_decay"], params["log_phase"])
    z = eigenvalues * as_complex(h) + params["log_scale"].exp() * as_complex(x @ params["weight_ih"].T)
    return (visit("h", torch.stack([z.real, z.imag], dim=-1).flatten(-2)),)
