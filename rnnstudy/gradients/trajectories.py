"""Path of a layer's states through a sequence, in float64; Jacobians are taken along it."""

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from rnnstudy.core.errors import ConfigError, require_at_least, require_finite, require_size
from rnnstudy.core.seeding import make_generator
from rnnstudy.gradients.spectra import spectral_radius
from rnnstudy.models.base import Network
from rnnstudy.recurrence.base import Recurrence, States, Weights

Drive = Literal["task", "nothing"]


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """States of one layer along given inputs.

    Attributes:
        cell: The recurrence.
        weights: Its weights.
        inputs: Inputs of the layer.
        initial: Every state before the first time step, each (replica, batch, hidden).
        states: Every state after every time step, each (time, replica, batch, hidden).
    """

    cell: Recurrence
    weights: Weights
    inputs: Float[Tensor, "time replica batch input"]
    initial: States
    states: States

    @cached_property
    def before(self) -> States:
        """Every state before every time step, each (time, replica, batch, hidden)."""
        pairs = zip(self.initial, self.states, strict=True)
        return tuple(torch.cat([first.unsqueeze(0), states[:-1]]) for first, states in pairs)

    @property
    def num_steps(self) -> int:
        """Time steps."""
        return len(self.inputs)

    @property
    def hidden_size(self) -> int:
        """Units of one state."""
        return self.initial[0].shape[-1]

    @property
    def state_size(self) -> int:
        """Numbers from which a sequence continues: all states of the cell together."""
        return len(self.initial) * self.hidden_size

    def block(self, state: str) -> slice:
        """Return the place of one state among the numbers of all; raise ConfigError if the cell has no such state."""
        if state not in self.cell.states:
            raise ConfigError(f"state must be one of {', '.join(self.cell.states)} for this cell, got '{state}'.")
        first = self.cell.states.index(state) * self.hidden_size
        return slice(first, first + self.hidden_size)

    def replica(self, number: int) -> "Trajectory":
        """Return the path of one replica alone; the axis stays."""
        one = slice(number, number + 1)
        return Trajectory(
            cell=self.cell,
            weights={name: weight[one] for name, weight in self.weights.items()},
            inputs=self.inputs[:, one],
            initial=tuple(state[one] for state in self.initial),
            states=tuple(state[:, one] for state in self.states),
        )


@torch.no_grad()
def trace(
    cell: Recurrence, weights: Weights, inputs: Float[Tensor, "time replica batch input"], initial: States | None = None
) -> Trajectory:
    """Run a cell over inputs, from `initial` or zero states; raise ConfigError if there are no time steps."""
    require_at_least("seq_len", len(inputs), 1)
    if initial is None:
        per_gate = cell.shapes(inputs.shape[-1], 2)["weight_ih"][0] // 2
        initial = cell.zero_state(inputs, weights["weight_ih"].shape[1] // per_gate)
    states = cell.unroll(inputs, initial, weights)
    return Trajectory(cell=cell, weights=weights, inputs=inputs, initial=initial, states=states)


def in_double(network: Network) -> Network:
    """Return a copy of a network in float64, without gradients of its own."""
    return copy.deepcopy(network).double().requires_grad_(False)


@torch.no_grad()
def network_trajectories(
    network: Network, inputs: Shaped[Tensor, "time replica batch ..."], *, drive: Drive = "task"
) -> list[Trajectory]:
    """Return the path of every layer, the lowest first, over token ids or features from zero states, in float64.

    The network stays as it is. With `drive` "nothing" every layer gets zeros and runs by itself, from a random state
    (standard normal, the same for every call). Without time steps it raises ConfigError.
    """
    require_at_least("seq_len", len(inputs), 1)
    double = in_double(network)
    found = []
    reading = double.embed(inputs)
    for layer in double.recurrent_layers:
        initial = None
        if drive == "nothing":
            reading = torch.zeros_like(reading)
            zero, generator = layer.recurrence.zero_state(reading, layer.hidden_size), make_generator(0, "autonomous")
            initial = tuple(torch.randn(each.shape, generator=generator, dtype=each.dtype).to(each) for each in zero)
        weights = {name: weight.detach() for name, weight in layer.weights().items()}
        found.append(trace(layer.recurrence, weights, reading, initial))
        reading = layer.output(found[-1].states[0])
    return found


RANDOM_INPUTS = 4
"""Input features of a random trajectory."""


def random_trajectory(
    cell: Recurrence, *, hidden_size: int, seq_len: int, seed: int, radius: float | None = None
) -> Trajectory:
    """Return the path of a cell with random weights over standard normal inputs: one replica and sequence, in float64.

    Args:
        cell: The recurrence.
        hidden_size: Units, at least 1.
        seq_len: Time steps, at least 1.
        seed: Seed of weights and inputs, at least 0.
        radius: Spectral radius to which every square block of `weight_hh` is scaled, at least 0; None leaves the
            weights as torch.nn draws them, uniform in ±1/sqrt(hidden_size).

    Raises:
        ConfigError: An argument is out of range, or there is a radius for a cell without `weight_hh`.
    """
    require_size("hidden_size", hidden_size, 1)
    require_size("seq_len", seq_len, 1)
    require_at_least("seed", seed, 0)
    generator = make_generator(seed, "random trajectory")
    weights: dict[str, Tensor] = {}
    for name, shape in cell.shapes(RANDOM_INPUTS, hidden_size).items():
        drawn = torch.rand((1, *shape), generator=generator, dtype=torch.float64) * 2 - 1
        weights[name] = torch.ones_like(drawn) if name == "gain" else drawn / hidden_size**0.5
    if radius is not None:
        if "weight_hh" not in weights:
            raise ConfigError("radius scales weight_hh, which this cell does not have; leave it out.")
        weights["weight_hh"] = with_radius(weights["weight_hh"], radius)
    inputs = torch.randn((seq_len, 1, 1, RANDOM_INPUTS), generator=generator, dtype=torch.float64)
    return trace(cell, weights, inputs)


def with_radius(weight: Float[Tensor, "replica rows hidden"], radius: float) -> Float[Tensor, "replica rows hidden"]:
    """Scale each gate's square block to a spectral radius unless its own is 0; ConfigError if negative or infinite."""
    require_at_least("radius", radius, 0)
    require_finite("radius", radius)
    blocks = weight.unflatten(1, (-1, weight.shape[-1]))
    now = spectral_radius(blocks)[..., None, None]
    return torch.where(now > 0, blocks * (radius / now), blocks).flatten(1, 2)
