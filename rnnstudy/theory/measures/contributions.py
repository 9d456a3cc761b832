"""Remainders of early states and inputs along a subject's layers, and the measured gradient to compare with them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float64

from rnnstudy.gradients.jacobians import Contributions, contributions, input_contributions
from rnnstudy.gradients.replay import replay
from rnnstudy.gradients.spectra import spectral_norm, vanilla_bound
from rnnstudy.gradients.trajectories import Trajectory, network_trajectories
from rnnstudy.theory.measures.networks import Example, Layer, Named, families

FOLLOWED = ("h", "c")
"""States that are followed, in cells that have them."""
MOST_NUMBERS = 1024
"""Largest state whose Jacobians are multiplied; beyond, that would take minutes and gigabytes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Contribution(Named):
    """Remainder of one state of a layer, all as log10; -inf for zero. The last time step is T.

    Attributes:
        state: "h" or "c".
        path: The layer's path.
        found: Figures of ds_T/ds_k.
        of_input: Spectral norm of ds_T/dx_k.
        bound: (gamma sigma(W_hh))^(T-k), which bounds `found.log10_norm`; None where W_hh alone bounds nothing.
        input_bound: (gamma sigma(W_hh))^(T-k) gamma sigma(W_hx), which bounds `of_input`; None likewise.
    """

    state: str
    path: Trajectory
    found: Contributions
    of_input: Float64[np.ndarray, "time batch"]
    bound: Float64[np.ndarray, " time"] | None
    input_bound: Float64[np.ndarray, " time"] | None

    @property
    def norm(self) -> Float64[np.ndarray, "time batch"]:
        """Spectral norm of ds_T/ds_k, as log10."""
        return self.found.log10_norm[:, 0].numpy()

    @property
    def steps(self) -> Float64[np.ndarray, "time batch"]:
        """Product of the spectral norms of J_{k+1} ... J_T, as log10."""
        return self.found.log10_steps[:, 0].numpy()

    @property
    def figures(self) -> dict[str, Float64[np.ndarray, "time batch"]]:
        """Three sizes of ds_T/ds_k, as log10, by name."""
        largest, gain = (each[:, 0].numpy() for each in (self.found.log10_largest, self.found.log10_gain))
        return {"spectral norm": self.norm, "largest entry": largest, "rms gain": gain}


@lru_cache(maxsize=64)
def measure(layer: Layer) -> tuple[Contribution, ...]:
    """Return one contribution per followed state of a layer; none if the state has more than MOST_NUMBERS numbers.

    It is kept, since several topics show it.
    """
    path, bound, input_bound = layer.trajectory, None, None
    if path.state_size > MOST_NUMBERS:
        return ()
    if layer.gamma is not None:
        weight_hh, weight_ih = path.weights["weight_hh"][0], path.weights["weight_ih"][0]
        bound = vanilla_bound(layer.gamma, float(spectral_norm(weight_hh)), path.num_steps).numpy()
        input_bound = bound + float((layer.gamma * spectral_norm(weight_ih)).log10())
    followed = [state for state in FOLLOWED if state in path.cell.states]
    return tuple(
        Contribution(
            family=layer.family if len(followed) == 1 else f"{layer.family}, {state}",
            radius=layer.radius,
            state=state,
            path=path,
            found=contributions(path, state),
            of_input=input_contributions(path, state)[:, 0].numpy(),
            bound=bound,
            input_bound=input_bound,
        )
        for state in followed
    )


def measure_all(layers: Iterable[Layer]) -> list[Contribution]:
    """Return the contributions of all layers, those of one family together."""
    found = families(each for layer in layers for each in measure(layer))
    return [each for family in found for each in family]


@dataclass(frozen=True, kw_only=True, eq=False)
class LossGradient(Named):
    """Measured gradient of a layer beside the Jacobian product, all as log10; -inf for zero.

    Attributes:
        norm: Spectral norm of dh_T/dh_k.
        gradient: ||dL/dh_k|| of every sequence's own loss, over its value at the last step where it is finite.
        at_end: Whether the loss is at the last time step alone and the readout reads this layer: then
            dL/dh_k = dL/dh_T dh_T/dh_k, and `gradient` is never above `norm`.
    """

    norm: Float64[np.ndarray, "time batch"]
    gradient: Float64[np.ndarray, "time batch"]
    at_end: bool


def gradients_of(example: Example, measured: Sequence[Contribution]) -> Iterator[LossGradient]:
    """Measure the gradient of each layer of at most MOST_NUMBERS state numbers; reuse norms of paths in `measured`."""
    batch = example.batch
    paths = [path.replica(example.replica) for path in network_trajectories(example.network, batch.inputs)]
    asked_at_end = batch.loss_steps.tolist() == [len(batch.inputs) - 1]
    for index, (path, log) in enumerate(zip(paths, replay(example.network, example.task, batch), strict=True)):
        if path.state_size > MOST_NUMBERS:
            continue
        same = [each.norm for each in measured if each.state == "h" and _same(each.path, path)]
        norm = same[0] if same else contributions(path).log10_norm[:, 0].numpy()
        gradient = log["h"][:, example.replica].numpy()
        family = example.family if len(paths) == 1 else f"{example.family}, layer {index}"
        at_end = asked_at_end and index == len(paths) - 1
        relative = gradient - _last_finite(gradient)
        yield LossGradient(family=family, radius=example.radius, norm=norm, gradient=relative, at_end=at_end)


def _same(one: Trajectory, other: Trajectory) -> bool:
    pairs = zip((one.inputs, *one.states), (other.inputs, *other.states), strict=False)
    return one.cell == other.cell and all(torch.equal(*pair) for pair in pairs)


def _last_finite(values: Float64[np.ndarray, "time batch"]) -> Float64[np.ndarray, " batch"]:
    """Return the last finite entry of every column; 0 if there is none."""
    columns = (column[np.isfinite(column)] for column in values.T)
    return np.array([column[-1] if column.size else 0.0 for column in columns])


def excess(
    norm: Float64[np.ndarray, "time batch"], bound: Float64[np.ndarray, "time _"]
) -> Float64[np.ndarray, "time batch"]:
    """Return log10 of norm over bound, both given as log10; -inf where the norm is zero, for every bound."""
    with np.errstate(invalid="ignore"):  # infinity over infinity, when a network overflows, is NaN
        return np.where(norm == -np.inf, -np.inf, norm - bound)


def closest_to_bound(each: Contribution) -> float | None:
    """Return log10 of the largest norm over (gamma sigma)^(T-k), k < T; None without a bound, or with one time step."""
    return None if each.bound is None else _largest(excess(each.norm, each.bound[:, None])[:-1])


def closest_to_steps(each: Contribution) -> float | None:
    """Return log10 of the largest norm over the product of the Jacobians' norms, k < T; None with one time step."""
    return _largest(excess(each.norm, each.steps)[:-1])


def closest_to_input_bound(each: Contribution) -> float | None:
    """Return log10 of the largest norm of an input over its bound, the last step included; None without a bound."""
    return None if each.input_bound is None else _largest(excess(each.of_input, each.input_bound[:, None]))


def _largest(ratio: np.ndarray) -> float | None:
    return float(ratio.max()) if ratio.size else None


def middle(values: Float64[np.ndarray, "time batch"]) -> Float64[np.ndarray, " time"]:
    """Return the median over sequences of figures that can be -inf; the lower of two middle ones."""
    return np.sort(values, axis=1)[:, (values.shape[1] - 1) // 2]


def at_start(values: Float64[np.ndarray, "time batch"]) -> str:
    """Format the median of step 0, given as log10, for a table."""
    return power(float(middle(values)[0]))


def power(log10: float | None) -> str:
    """Format a number, given as log10, for a table; a dash for None."""
    if log10 is None:
        return "–"
    if np.isnan(log10):
        return "not finite"
    if np.isinf(log10):
        return "0" if log10 < 0 else "infinite"
    return f"10^{round(log10, 2) + 0.0:.2f}"
