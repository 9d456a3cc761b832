"""The step of torch.nn.RNN, whatever the activation."""

from reference.cells.base import ACTIVATIONS, Params, Visit, modrelu, preactivations
from torch import Tensor

from rnnstudy.recurrence.base import States
from rnnstudy.recurrence.rnn import RNNRecurrence


def step(cell: RNNRecurrence, x: Tensor, state: States, params: Params, visit: Visit) -> States:
    (h,) = state
    (a,) = preactivations(x, h, params, 1)
    if cell.nonlinearity == "modrelu":
        return (visit("h", modrelu(a, params["threshold"])),)
    return (visit("h", ACTIVATIONS[cell.nonlinearity](a)),)
