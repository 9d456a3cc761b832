"""A share of the state before and a share of what is new."""

import torch
from reference.cells.base import Params, Visit, preactivations
from torch import Tensor

from rnnstudy.recurrence.base import States
from rnnstudy.recurrence.residual import ResidualRecurrence


def step(cell: ResidualRecurrence, x: Tensor, state: States, params: Params, visit: Visit) -> States:
    (h,) = state
    (a,) = preactivations(x, h, params, 1)
    kept = 1 - cell.rate if cell.variant == "leaky" else 1
    return (visit("h", kept * h + cell.rate * torch.tanh(a)),)
