"""dL/dh_t of a batch, computed again in float64 with separate exponents: what vanished, and what merely underflowed.

A float32 gradient that shows 0 may be 1e-60. Here the backward pass takes one time step at a time, by the recurrence's
own backward pass. After each step it scales the adjoint of every sequence back to ordinary size, and adds its power of
two to a counter. Powers of ten down to -5000 and beyond come out as they are; what is zero here has truly vanished (a
unit that is off, a slope that rounds to 0 in float64).

All states of a sequence share one power of two: what is 308 powers of ten below the largest of them is lost beside it.
Every factor is as good as float64 has it. The slope 1 - h^2 of a tanh unit so saturated that h is within 1e-11 of 1 has
few digits left, and is 0 once h rounds to 1: the engine computes it from the state.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rnnstudy.gradients.trajectories import Trajectory, in_double, network_trajectories
from rnnstudy.models.base import Layer, Network
from rnnstudy.recurrence.base import AdjointRecorder, States
from rnnstudy.tasks.base import Batch, Task


@dataclass(frozen=True, kw_only=True)
class _Adjoints:
    """Adjoints of one time step, each (replica, batch, feature), times a power of two for every sequence."""

    values: States
    exponents: Float[Tensor, "replica batch"]

    @staticmethod
    def sum_of(parts: "list[_Adjoints]") -> "_Adjoints":
        """Return the sum of adjoints, the largest entry of every sequence in [1/2, 1)."""
        common = torch.stack([part.exponents for part in parts]).amax(0)
        # What is 2^-1100 of something else does not count beside it in float64.
        shifts = [(part.exponents - common).clamp(min=-1100) for part in parts]
        pairs = zip(parts, shifts, strict=True)
        scaled = [[value * torch.exp2(shift)[..., None] for value in part.values] for part, shift in pairs]
        sums = [torch.stack(values).sum(0) for values in zip(*scaled, strict=True)]
        largest = torch.stack([value.abs().amax(-1) for value in sums]).amax(0)
        shift = torch.frexp(torch.where(largest.isfinite(), largest, 1)).exponent
        values = tuple(torch.ldexp(value, -shift[..., None]) for value in sums)
        # Zero has no exponent; it must not outweigh what it is added to.
        exponents = torch.where(largest == 0, NOTHING, common + shift)
        return _Adjoints(values=values, exponents=exponents)


NOTHING = -1e15
"""Power of two of zero: below all others, and still a number."""


@torch.enable_grad()
def replay(network: Network, task: Task, batch: Batch) -> list[dict[str, Float[Tensor, "time replica batch"]]]:
    """Return log10 ||dL/ds_t||, total, at every time step for every sequence's own loss, by state for each layer.

    The lowest layer first; -inf for exactly zero, NaN for what is not finite. The loss is the task's alone, from zero
    states, and no mitigation edits the adjoints. The network stays as it is.
    """
    double = in_double(network)
    trajectories = network_trajectories(network, batch.inputs)
    top = trajectories[-1].states[0].detach().requires_grad_()
    outputs = double.read_out(double.recurrent_layers[-1].output(top[batch.loss_steps]))
    # Per sequence: not divided by the batch size.
    loss = task.loss(outputs, batch).sum() * batch.inputs.shape[2]
    (direct,) = torch.autograd.grad(loss, top, materialize_grads=True)
    zero = torch.zeros_like(direct[0, ..., 0])
    arriving = [_Adjoints.sum_of([_Adjoints(values=(each,), exponents=zero)]) for each in direct]
    found = []
    for index in reversed(range(len(trajectories))):
        logs, to_inputs = _layer_back(trajectories[index], arriving)
        found.append(logs)
        if index:
            below = double.recurrent_layers[index - 1]
            hidden = trajectories[index - 1].states[0]
            arriving = [_through_output(below, hidden[t], each) for t, each in enumerate(to_inputs)]
    return found[::-1]


def _layer_back(trajectory: Trajectory, arriving: list[_Adjoints]) -> tuple[dict[str, Tensor], list[_Adjoints]]:
    """Return log10 of the norms of every recorded state's total adjoint, and the adjoints of the layer's inputs.

    `arriving` is what reaches the layer's output at every time step from outside of the layer.
    """
    cell = trajectory.cell
    rest = tuple(torch.zeros_like(state[0]) for state in trajectory.states[1:])
    carried = _Adjoints(
        values=tuple(torch.zeros_like(state[0]) for state in trajectory.states),
        exponents=torch.full_like(arriving[0].exponents, NOTHING),
    )
    logs: dict[str, list[Tensor]] = {name: [] for name in cell.recorded}
    to_inputs: list[_Adjoints] = []
    for t in reversed(range(trajectory.num_steps)):
        outside = _Adjoints(values=(*arriving[t].values, *rest), exponents=arriving[t].exponents)
        total = _Adjoints.sum_of([outside, carried])
        recorder = AdjointRecorder()
        inputs = trajectory.inputs[t : t + 1].detach().requires_grad_()
        before = tuple(state[t].detach().requires_grad_() for state in trajectory.before)
        after = cell.unroll(inputs, before, trajectory.weights, recorder=recorder)
        seeds = [value.unsqueeze(0) for value in total.values]
        of_inputs, *of_states = torch.autograd.grad(after, (inputs, *before), seeds, materialize_grads=True)
        carried = _Adjoints(values=tuple(of_states), exponents=total.exponents)
        to_inputs.append(_Adjoints(values=(of_inputs[0],), exponents=total.exponents))
        for name, row in logs.items():
            norm = torch.linalg.vector_norm(recorder.adjoints[name].total[0], dim=-1)
            row.append(norm.log10() + total.exponents * math.log10(2))
    return {name: torch.stack(row[::-1]) for name, row in logs.items()}, to_inputs[::-1]


def _through_output(layer: Layer, hidden: Tensor, adjoints: _Adjoints) -> _Adjoints:
    """Turn the adjoint of what the next layer reads into that of this layer's state."""
    leaf = hidden.detach().unsqueeze(0).requires_grad_()
    (found,) = torch.autograd.grad(layer.output(leaf), leaf, adjoints.values[0].unsqueeze(0))
    return _Adjoints.sum_of([_Adjoints(values=(found[0],), exponents=adjoints.exponents)])


def mean_of_logs(logs: Float[Tensor, "time replica batch"]) -> Float[Tensor, "time replica"]:
    """Return log10 of the mean over the batch of numbers given as log10."""
    return torch.logsumexp(logs * math.log(10), dim=-1) / math.log(10) - math.log10(logs.shape[-1])
