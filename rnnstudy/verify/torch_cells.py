"""The cells of torch.nn, and their loop over a sequence."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnstudy.recurrence.base import Recurrence, States
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence


def torch_cell(cell: Recurrence, input_size: int, hidden_size: int) -> nn.RNNCellBase:
    """Return torch.nn's cell for one time step, in float64, with new weights; AssertionError if not listed here."""
    match cell:
        case RNNRecurrence():
            return nn.RNNCell(input_size, hidden_size, nonlinearity=cell.nonlinearity, dtype=torch.float64)
        case GRURecurrence():
            return nn.GRUCell(input_size, hidden_size, dtype=torch.float64)
        case LSTMRecurrence():
            return nn.LSTMCell(input_size, hidden_size, dtype=torch.float64)
    raise AssertionError(f"say here which cell of torch.nn {cell} is")


def unroll_steps(
    steps: Iterable[Callable[..., Any]], inputs: Float[Tensor, "time batch input"], state: States
) -> list[States]:
    """Return all states after each time step, each (batch, hidden); steps are called like cells of torch.nn."""
    seen: list[States] = []
    for step, row in zip(steps, inputs, strict=True):
        hidden, *others = state
        after = step(row, state if others else hidden)
        state = after if isinstance(after, tuple) else (after,)
        seen.append(state)
    return seen
