"""The step of torch.nn.GRU."""

import torch
from reference.cells.base import Params, Visit, normalised
from torch import Tensor

from rnnstudy.recurrence.base import States
from rnnstudy.recurrence.gru import GRURecurrence


def step(cell: GRURecurrence, x: Tensor, state: States, params: Params, visit: Visit) -> States:
    (h,) = state
    w_ir, w_iz, w_in = params["weight_ih"].chunk(3)
    w_hr, w_hz, w_hn = params["weight_hh"].chunk(3)
    b_ir, b_iz, b_in = params["bias_ih"].chunk(3)
    b_hr, b_hz, b_hn = params["bias_hh"].chunk(3)

    sum_r = x @ w_ir.T + h @ w_hr.T
    sum_z = x @ w_iz.T + h @ w_hz.T
    recurrent = h @ w_hn.T
    other = x @ w_in.T
    if "gain" in params:
        gain_r, gain_z, gain_recurrent, gain_other = params["gain"].chunk(4)
        sum_r, sum_z = normalised(sum_r, gain_r), normalised(sum_z, gain_z)
        recurrent, other = normalised(recurrent, gain_recurrent), normalised(other, gain_other)

    r = torch.sigmoid(sum_r + b_ir + b_hr)
    z = torch.sigmoid(sum_z + b_iz + b_hz)
    n = torch.tanh(other + b_in + r * (recurrent + b_hn))
    return (visit("h", (1 - z) * n + z * h),)
