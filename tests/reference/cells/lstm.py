"""The step of torch.nn.LSTM."""

import torch
from reference.cells.base import Params, Visit, preactivations
from torch import Tensor

from rnnstudy.recurrence.base import States
from rnnstudy.recurrence.lstm import LSTMRecurrence


def step(cell: LSTMRecurrence, x: Tensor, state: States, params: Params, visit: Visit) -> States:
    h, c = state
    a_i, a_f, a_g, a_o = preactivations(x, h, params, 4)
    i, f, g, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.tanh(a_g), torch.sigmoid(a_o)
    c = visit("c", f * c + i * g)
    return visit("h", o * torch.tanh(c)), c
