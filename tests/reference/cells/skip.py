"""The last of the states is `skip` steps old; the others move on by one place."""

import torch
from reference.cells.base import Params, Visit, preactivations
from torch import Tensor

from rnnstudy.recurrence.base import States
from rnnstudy.recurrence.skip import SkipRecurrence


def step(cell: SkipRecurrence, x: Tensor, state: States, params: Params, visit: Visit) -> States:
    (a,) = preactivations(x, state[0], params, 1)
    h = visit("h", torch.tanh(a + state[-1] @ params["weight_skip"].T))
    return h, *(visit(f"h-{back}", older) for back, older in enumerate(state[:-1], start=1))
