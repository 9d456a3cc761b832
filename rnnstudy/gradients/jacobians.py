"""Jacobians of the recurrence along a trajectory, and their products over time.

J_t = ds_t/ds_{t-1}, s all states of the cell one after the other (h, then c), inputs held. The recurrence itself gives
them: each time step is run as a sequence of its own, once per number of the state, and its backward pass, started from
a unit vector, is a row of J_t. So every cell has them, by the very equations with which it is trained.

Products of many Jacobians leave the range of float64: they are kept as rows of ordinary size with a power of two each.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rnnstudy.gradients.spectra import spectral_norm
from rnnstudy.gradients.trajectories import Trajectory
from rnnstudy.recurrence.scan import spans

AT_ONCE = 1 << 22
"""Numbers of all Jacobians held at once: 32 MB."""


def step_jacobians(
    trajectory: Trajectory, steps: range | None = None
) -> Float[Tensor, "time replica batch state state"]:
    """Return J_t at `steps`, or at all; row i, column j: derivative of number i of the states by number j before."""
    return _derivatives(trajectory, steps, of_inputs=False)


def input_jacobians(
    trajectory: Trajectory, steps: range | None = None
) -> Float[Tensor, "time replica batch state input"]:
    """Return ds_t/dx_t at `steps`, or at all; row i, column j: derivative of number i of the states by input j."""
    return _derivatives(trajectory, steps, of_inputs=True)


@torch.enable_grad()
def _derivatives(trajectory: Trajectory, steps: range | None, *, of_inputs: bool) -> Tensor:
    cell, size, batch = trajectory.cell, trajectory.state_size, trajectory.inputs.shape[2]
    steps = range(trajectory.num_steps) if steps is None else steps
    during, count = slice(steps.start, steps.stop), len(steps)

    def rows(values: Tensor) -> Tensor:
        """Repeat rows of (time replica batch feature) once per number of the state; time joins the batch."""
        return values[during].transpose(0, 1).flatten(1, 2).repeat_interleave(size, 1).requires_grad_()

    inputs, before = rows(trajectory.inputs).unsqueeze(0), tuple(rows(state) for state in trajectory.before)
    after = torch.cat([state[0] for state in cell.unroll(inputs, before, trajectory.weights)], dim=-1)
    units = torch.eye(size, dtype=after.dtype, device=after.device).repeat(count * batch, 1).expand_as(after)
    wanted = (inputs,) if of_inputs else before
    found = torch.autograd.grad(after, wanted, units, materialize_grads=True)
    derivative = torch.cat([each.squeeze(0) if of_inputs else each for each in found], dim=-1)
    return derivative.unflatten(1, (count, batch, size)).transpose(0, 1)


def spans_of(trajectory: Trajectory) -> list[range]:
    """Return the time steps in runs with few enough Jacobians to hold at once."""
    rows = trajectory.inputs.shape[1] * trajectory.inputs.shape[2] * trajectory.state_size
    return spans(trajectory.num_steps, max(1, AT_ONCE // (rows * 4 * trajectory.state_size)))


def jacobians_forward(trajectory: Trajectory) -> Iterator[Float[Tensor, "replica batch state state"]]:
    """Yield J_0, J_1, ... in turn, one per time step."""
    for steps in spans_of(trajectory):
        yield from step_jacobians(trajectory, steps).unbind(0)


def jacobians_backward(trajectory: Trajectory) -> Iterator[Float[Tensor, "replica batch state state"]]:
    """Yield the same from the last time step to the first."""
    for steps in reversed(spans_of(trajectory)):
        yield from reversed(step_jacobians(trajectory, steps).unbind(0))


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """Matrices whose rows have a power of two each, for what float64 cannot hold.

    A row of a product depends only on the same row of the first factor, so rows may lie any number of powers apart.

    Attributes:
        values: Rows whose largest entry is in [1/2, 1), unless the row is zero.
        exponents: Powers of two, whole numbers, one per row.
    """

    values: Float[Tensor, "replica batch rows columns"]
    exponents: Float[Tensor, "replica batch rows"]

    @staticmethod
    def of(values: Float[Tensor, "replica batch rows columns"], exponents: Tensor | float = 0.0) -> "Scaled":
        """Bring every row to ordinary size; `exponents` go with the rows as they are."""
        largest = values.abs().amax(-1)
        shift = torch.frexp(torch.where(largest.isfinite(), largest, 1)).exponent
        scaled = torch.ldexp(values, -shift[..., None])
        return Scaled(values=scaled, exponents=exponents + shift.to(values.dtype))

    def times(self, factor: Float[Tensor, "replica batch columns others"]) -> "Scaled":
        """Return the product with a matrix on the right."""
        return Scaled.of(self.values @ factor, self.exponents)

    def log10(self, figure: Callable[[Tensor], Tensor]) -> Float[Tensor, "replica batch"]:
        """Return log10 of a norm of the matrices; -inf for 0."""
        empty = (self.values == 0).all(-1)
        common = torch.where(empty, -torch.inf, self.exponents).amax(-1, keepdim=True)
        common = torch.where(common.isfinite(), common, 0)
        # A row that is 2^-1100 of another does not count beside it in a norm.
        shift = (self.exponents - common).clamp(min=-1100, max=0)
        matrix = self.values * torch.exp2(shift)[..., None]
        return figure(matrix).log10() + common.squeeze(-1) * math.log10(2)


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """How much of a state at time step k is left in one at the last time step T, as log10; -inf for nothing.

    Entry k is a figure of the block ds_T/ds_k = J_T J_{T-1} ... J_{k+1} of one state; the last entry, of the identity,
    is 0.

    Attributes:
        log10_norm: Spectral norm: the most that a small change at k becomes at T, per unit of it.
        log10_largest: Largest absolute entry.
        log10_gain: Frobenius norm / sqrt(units): the root mean square gain over all directions of a change.
        log10_step: Spectral norm of J_k by itself, all states together.
    """

    log10_norm: Float[Tensor, "time replica batch"]
    log10_largest: Float[Tensor, "time replica batch"]
    log10_gain: Float[Tensor, "time replica batch"]
    log10_step: Float[Tensor, "time replica batch"]

    @property
    def log10_steps(self) -> Float[Tensor, "time replica batch"]:
        """Product of the norms of J_{k+1} ... J_T, as log10: no norm can be larger, and usually it is far smaller."""
        after = self.log10_step[1:].flip(0).cumsum(0).flip(0)
        return torch.cat([after, torch.zeros_like(self.log10_step[:1])])


@torch.no_grad()
def contributions(trajectory: Trajectory, state: str = "h") -> Contributions:
    """Return what is left, of `state` ("h" or "c") at every time step, in the same state at the last one.

    All paths between count, also those through the other states.

    Raises:
        ConfigError: The cell has no such state.
    """
    place = trajectory.block(state)
    norms, largest, gains, steps = [], [], [], []
    product = Scaled.of(_identity(trajectory)[..., place, :])
    for jacobian in jacobians_backward(trajectory):
        block = Scaled.of(product.values[..., place], product.exponents)
        norms.append(block.log10(spectral_norm))
        largest.append(block.log10(lambda matrix: matrix.abs().amax((-2, -1))))
        gains.append(block.log10(lambda matrix: torch.linalg.matrix_norm(matrix) / matrix.shape[-1] ** 0.5))
        steps.append(spectral_norm(jacobian).log10())
        product = product.times(jacobian)
    norm, most, gain, step = (_in_time(figures) for figures in (norms, largest, gains, steps))
    return Contributions(log10_norm=norm, log10_largest=most, log10_gain=gain, log10_step=step)


@torch.no_grad()
def input_contributions(trajectory: Trajectory, state: str = "h") -> Float[Tensor, "time replica batch"]:
    """Return log10 of the spectral norm of ds_T/dx_k for each k: what is left of an input in `state` at the last step.

    Raises:
        ConfigError: The cell has no such state.
    """
    place = trajectory.block(state)
    product = Scaled.of(_identity(trajectory)[..., place, :])
    found = []
    for steps in reversed(spans_of(trajectory)):
        of_states, of_inputs = step_jacobians(trajectory, steps), input_jacobians(trajectory, steps)
        for jacobian, of_input in zip(of_states.flip(0), of_inputs.flip(0), strict=True):
            found.append(product.times(of_input).log10(spectral_norm))
            product = product.times(jacobian)
    return _in_time(found)


def _identity(trajectory: Trajectory) -> Float[Tensor, "replica batch state state"]:
    like = trajectory.states[0]
    return torch.eye(trajectory.state_size, dtype=like.dtype, device=like.device).expand(*like.shape[1:3], -1, -1)


def _in_time(figures: list[Tensor]) -> Tensor:
    """Stack figures that were found from the last time step on, in the order of time."""
    return torch.stack(figures[::-1])
