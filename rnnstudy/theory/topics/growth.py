"""Rates of growth: Lyapunov exponents, their sum, and a fixed point where both are known."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from rnnstudy.gradients.jacobians import Scaled, jacobians_backward
from rnnstudy.gradients.lyapunov import lyapunov
from rnnstudy.gradients.spectra import spectral_norm
from rnnstudy.gradients.trajectories import Trajectory, random_trajectory, trace
from rnnstudy.plotting.style import AXIS, COLORS
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.theory.figures import finite, label, panels, share_legend
from rnnstudy.theory.measures.networks import Layer, Named, Subject, families
from rnnstudy.theory.topic import Picture, Table, Topic

BUDGET = 1 << 32
"""Most time steps times sequences times cubed state size; beyond, fewer sequences are used."""
FIXED_POINT_UNITS = 8
ROUNDING = 1e-6
"""Growth per step that counts as zero: the error of an orthogonal matrix in float32."""
_RADIUS, _SETTLE, _COUNTED = 0.9, 2000, 1000
_FORWARD: dict[str, Any] = {
    "color": COLORS[0],
    "marker": "o",
    "linestyle": "-",
    "label": "forward: changes of the state",
}
_BACKWARD: dict[str, Any] = {"color": COLORS[1], "marker": "x", "linestyle": "--", "label": "backward: gradients"}


@dataclass(frozen=True, kw_only=True)
class Growth(Named):
    """Rates of one layer, in natural logarithms per time step.

    Attributes:
        forward: Exponents of changes of the state, the largest first; mean over the sequences.
        backward: Exponents of adjoints, likewise.
        norm: Logarithm of the spectral norm of J_T ... J_1, all states together, over T; mean over the sequences.
        log_det: Mean of ln |det J_t| over time steps and sequences.
        lost: Number of lost directions, in the sequence that loses most.
        sequences: Number of sequences.
        num_steps: T.
    """

    forward: Float64[np.ndarray, " state"]
    backward: Float64[np.ndarray, " state"]
    norm: float
    log_det: float
    lost: int
    sequences: int
    num_steps: int


def explain_growth(subject: Subject) -> Topic:
    """Show every layer's exponents, forward and backward, and those of a network at rest, where they are known."""
    found = {layer.name: growth_of(layer) for layer in subject.layers}
    fixed = fixed_point_check(min(subject.layers[0].trajectory.hidden_size, FIXED_POINT_UNITS))
    error = float(np.abs(fixed[:, 1:] - fixed[:, :1]).max())
    return Topic(
        title="Rates of growth: Lyapunov exponents",
        text=(
            "A frame of orthonormal changes of the state goes through the Jacobians J_1, J_2, ..., J_T and is made "
            "orthonormal again after every step (QR). The mean logarithms of what its vectors grew by are the "
            "exponents, natural logarithms per time step: below 0 a change dies out, above 0 it grows. Backward, a "
            "frame of gradients goes through the transposed Jacobians from the last step to the first. In the long "
            "run both ways give the same numbers. Over a finite stretch they differ, and they depend on the frame that "
            "one starts with, here the units themselves, in their order: what a gradient keeps at most over the whole "
            "stretch is told by the norm of the product, not by the largest exponent.",
            *_findings(found, subject),
            f"A check where the answer is known: a tanh network of {len(fixed)} unit{'s' * (len(fixed) > 1)} without "
            f"inputs, radius {_RADIUS:g}, has come to rest. There the Jacobian is the same at every step, J = diag(1 - "
            "h^2) W_hh, and the exponents must be ln |eigenvalue of J|. W_hh is symmetric, so that all of them are "
            f"real. Largest error, both ways: {error:.1e}.",
        ),
        tables=(_largest(found), _volumes(found), _fixed_point(fixed)),
        pictures=(
            Picture(
                name="lyapunov_spectra",
                alt="Lyapunov exponents by rank, forward and backward (of several radii forward alone), of: "
                + "; ".join(f"{name}, largest {_number(each.forward[0])}" for name, each in found.items()),
                draw=lambda: _figure(found),
            ),
        ),
    )


@torch.no_grad()
def growth_of(layer: Layer) -> Growth:
    """Measure the rates of one layer along its path; NaN where the path is not finite."""
    trajectory = _few_sequences(layer.trajectory)
    like = trajectory.states[0]
    units = torch.eye(trajectory.state_size, dtype=like.dtype).expand(*like.shape[1:3], -1, -1)
    product, dets = Scaled.of(units), []
    for jacobian in jacobians_backward(trajectory):
        product = product.times(jacobian)
        dets.append(torch.linalg.slogdet(jacobian).logabsdet)
    norm = product.log10(spectral_norm) * math.log(10) / trajectory.num_steps
    found = lyapunov(trajectory)
    return Growth(
        family=layer.family,
        radius=layer.radius,
        forward=_spectrum(found.forward),
        backward=_spectrum(found.backward),
        norm=float(norm.mean()),
        log_det=float(torch.stack(dets).mean()),
        lost=int(found.forward.isneginf().sum(-1).max()),
        sequences=like.shape[2],
        num_steps=trajectory.num_steps,
    )


def fixed_point_check(hidden_size: int) -> Float64[np.ndarray, "hidden 3"]:
    """Return ln |eigenvalue of diag(1 - h^2) W_hh| and both exponents of a tanh network at rest, for every rank.

    h = tanh(W_hh h + b) with W_hh symmetric, of radius 0.9, is a contraction, so it comes to rest from any state.
    """
    drawn = random_trajectory(RNNRecurrence(nonlinearity="tanh"), hidden_size=hidden_size, seq_len=1, seed=0)
    symmetric = drawn.weights["weight_hh"] + drawn.weights["weight_hh"].mT
    weights = {**drawn.weights, "weight_hh": symmetric * (_RADIUS / spectral_norm(symmetric)[:, None, None])}
    nothing = torch.zeros(_SETTLE, *drawn.inputs.shape[1:], dtype=torch.float64)
    rest = trace(drawn.cell, weights, nothing).states[0][-1]
    exponents = lyapunov(trace(drawn.cell, weights, nothing, (rest,)), burn_in=_SETTLE - _COUNTED)
    slopes = 1 - rest[0, 0].square()
    # diag(d) W has the eigenvalues of the symmetric diag(sqrt d) W diag(sqrt d).
    root = slopes.sqrt()
    eigenvalues = torch.linalg.eigvalsh(root[:, None] * weights["weight_hh"][0] * root)
    columns = (eigenvalues.abs().log(), exponents.forward[0, 0], exponents.backward[0, 0])
    return np.stack([column.sort(descending=True).values.numpy() for column in columns], axis=1)


def _few_sequences(trajectory: Trajectory) -> Trajectory:
    batch = trajectory.inputs.shape[2]
    kept = max(1, min(batch, BUDGET // (trajectory.num_steps * trajectory.state_size**3)))
    return replace(
        trajectory,
        inputs=trajectory.inputs[:, :, :kept],
        initial=tuple(state[:, :kept] for state in trajectory.initial),
        states=tuple(state[:, :, :kept] for state in trajectory.states),
    )


def _spectrum(exponents: Float[Tensor, "replica batch state"]) -> Float64[np.ndarray, " state"]:
    """Return the mean spectrum over the sequences, the largest exponent first."""
    return exponents.flatten(0, 1).sort(-1, descending=True).values.mean(0).numpy()


def _findings(found: dict[str, Growth], subject: Subject) -> Iterator[str]:
    some = next(iter(found.values()))
    over = f"; means over {some.sequences} sequences" if some.sequences > 1 else ""
    driven = "driven by its inputs" if subject.drive == "task" else "running by itself"
    yield f"Every layer is looked at over {some.num_steps} time steps, {driven}{over}."
    growing = [name for name, each in found.items() if each.norm > ROUNDING]
    unknown = [name for name, each in found.items() if math.isnan(each.norm)]
    yield (
        f"The product of all Jacobians lengthens some direction for: {' / '.join(growing)}."
        if growing
        else "The product of all Jacobians lengthens no direction."
        if not unknown
        else "Whether a direction grows cannot be told."
    )
    if unknown:
        yield f"Not finite: {' / '.join(unknown)}."
    if losing := [f"{name} ({each.lost} of {len(each.forward)})" for name, each in found.items() if each.lost]:
        yield (
            "Where a Jacobian has not the full rank (a relu unit that is off, a normalisation, a singular W_hh), what "
            "a direction held is lost for good, and its exponent is -inf. A mean over sequences is -inf where one of "
            "them is. Directions lost, "
            f"in the sequence that loses most: {' / '.join(losing)}."
        )


def _largest(found: dict[str, Growth]) -> Table:
    def per_step(rate: float) -> str:
        return f"10^{rate / math.log(10):.3f}" if math.isfinite(rate) else "0" if rate == -math.inf else _number(rate)

    return Table(
        title="The largest exponent, and the norm of the whole product",
        header=("layer", "forward", "backward", "as a factor", "norm, a step"),
        rows=[
            (name, _number(each.forward[0]), _number(each.backward[0]), per_step(each.forward[0]), per_step(each.norm))
            for name, each in found.items()
        ],
        caption="Natural logarithms per time step; as a factor: the forward one as a power of ten per step. The last "
        "column: the norm of J_T ... J_1 to the power 1/T, the most that any direction can keep.",
    )


def _volumes(found: dict[str, Growth]) -> Table:
    return Table(
        title="All exponents together: how volumes of states shrink",
        header=("layer", "number", "sum forward", "sum backward", "mean ln|det J|"),
        rows=[
            (name, str(len(each.forward)), *map(_number, (each.forward.sum(), each.backward.sum(), each.log_det)))
            for name, each in found.items()
        ],
        caption="The three agree, since |det J| is the product of what QR finds. -inf: a direction is lost, or, in a "
        "sum, too small to be told from rounding.",
    )


def _fixed_point(fixed: Float64[np.ndarray, "hidden 3"]) -> Table:
    return Table(
        title="At a fixed point",
        header=("rank", "ln|eig J|", "forward", "backward", "error"),
        rows=[
            (str(rank), *(f"{value:.9f}" for value in row), f"{np.abs(row[1:] - row[0]).max():.0e}")
            for rank, row in enumerate(fixed, start=1)
        ],
        caption=f"QR over {_COUNTED} time steps at rest, after as many that turned the frame.",
    )


def _figure(found: dict[str, Growth]) -> Figure:
    every = families(found.values())
    figure, shown = panels(len(every), 3, height=3.4, more=0.7)
    for axes in figure.axes[len(shown) :]:
        axes.remove()
    for axes, family in zip(shown, every, strict=True):
        each = family[0]
        ranks = np.arange(1, len(each.forward) + 1)
        small = 0.6 if len(ranks) > 40 else 1.0
        lines = [(each.forward, _FORWARD), (each.backward, _BACKWARD)]
        if len(family) > 1:
            looks = [
                {**_FORWARD, "color": color, "label": one.radius_name}
                for one, color in zip(family, COLORS, strict=False)
            ]
            lines = [(one.forward, look) for one, look in zip(family, looks, strict=True)]
        for values, look in lines:
            axes.plot(ranks, finite(values), **look, markersize=5 * small, linewidth=1.8 * small)
        axes.axhline(0, color=AXIS, linewidth=1)
        axes.set_xlim(0.5, len(ranks) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        gone = max(int(np.isneginf(one.forward).sum()) for one in family)
        note = f" ({gone} of {len(ranks)} at -inf)" if gone else ""
        label(axes, title=each.family, note=note, x="rank", y="exponent, ln per step")
    share_legend(figure, shown)
    return figure


def _number(value: float) -> str:
    if math.isfinite(value):
        return f"{value:.4f}"
    return "not finite" if math.isnan(value) or value > 0 else "-inf"
