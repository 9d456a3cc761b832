"""One recurrent weight a unit."""

from reference.cells.base import ACTIVATIONS, Params, Visit
from torch import Tensor

from rnnstudy.recurrence.base import States
from rnnstudy.recurrence.indrnn import IndRNNRecurrence


def step(cell: IndRNNRecurrence, x: Tensor, state: States, params: Params, visit: Visit) -> States:
    (h,) = state
    a = x @ params["weight_ih"].T + params["bias"] + params["recurrent"] * h
    return (visit("h", ACTIVATIONS[cell.nonlinearity](a)),)
