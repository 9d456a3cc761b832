"""The opening: a network whose gradient vanishes beside one whose gradient explodes, and what the subject's do."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float64
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rnnstudy.gradients.jacobians import Scaled, jacobians_backward
from rnnstudy.gradients.trajectories import random_trajectory
from rnnstudy.plotting.style import COLORS, DPI, GREY, INK
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.theory.figures import DASHED, finite, label, power_of_ten
from rnnstudy.theory.measures.contributions import Contribution, measure, measure_all, middle, power
from rnnstudy.theory.measures.networks import Layer, Subject
from rnnstudy.theory.topic import Picture, Table, Topic

RADII = (0.7, 2.5)
UNITS, STEPS = 64, 51
FACTOR = 100
"""A gradient vanishes below 1/FACTOR of its size at lag 0, and explodes above FACTOR times that."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pole:
    """One of the two networks that open the page, all as log10, entry = lag.

    Attributes:
        radius: Spectral radius of W_hh.
        norm: Spectral norm of dh_T/dh_{T-lag}.
        gradient: ||dL/dh_{T-lag}|| / ||dL/dh_T|| of the loss L = sum of h_T.
        bound: (gamma sigma)^lag, never below `norm`.
    """

    radius: float
    norm: Float64[np.ndarray, " lag"]
    gradient: Float64[np.ndarray, " lag"]
    bound: Float64[np.ndarray, " lag"]

    @property
    def verdict(self) -> str:
        """Behaviour of its gradient in a word."""
        return verdict(self.norm)


def explain_opening(subject: Subject) -> Topic:
    """Show both poles, and tabulate what every network of the subject does."""
    low, high = poles()
    lags = STEPS - 1
    every = measure_all(subject.layers)
    return Topic(
        title="A gradient that vanishes, and one that explodes",
        text=(
            f"The same tanh network twice, with {UNITS} units and the same random weights and inputs: only the "
            f"spectral radius ρ of W_hh differs. Over {lags} steps back the gradient of a loss at the last step "
            f"{low.verdict} with ρ = {low.radius:g}, where {power(low.gradient[-1])} of it is left, and {high.verdict} "
            f"with ρ = {high.radius:g}, where it becomes {power(high.gradient[-1])} times as long.",
        ),
        tables=(_table(every),) if every else (),
        pictures=(
            Picture(
                name="vanish_explode",
                alt="Two panels, factor on the gradient against the lag. Gradient: ‖dL/dh_k‖ / ‖dL/dh_T‖. The most it "
                "can keep: the norm ‖∂h_T/∂h_k‖ of the product of the true Jacobians. Bound: (γσ)^(T-k), which allows "
                "growth in both, so it proves neither.",
                draw=lambda: _figure(poles()),
            ),
        ),
    )


@cache
def poles() -> tuple[Pole, Pole]:
    """Measure both networks by their true Jacobians, in float64."""
    low, high = map(_pole, RADII)
    return low, high


@torch.no_grad()
def _pole(radius: float) -> Pole:
    cell = RNNRecurrence(nonlinearity="tanh")
    path = random_trajectory(cell, hidden_size=UNITS, seq_len=STEPS, seed=0, radius=radius)
    (found,) = measure(Layer(family="rnn", trajectory=path, gamma=1.0))
    assert found.bound is not None
    row = Scaled.of(torch.ones(1, 1, 1, UNITS, dtype=torch.float64))
    lengths = [row.log10(torch.linalg.matrix_norm)]
    for jacobian in jacobians_backward(path):
        row = row.times(jacobian)
        lengths.append(row.log10(torch.linalg.matrix_norm))
    gradient = torch.stack(lengths[:-1]).flatten().numpy()
    return Pole(radius=radius, norm=found.norm[::-1, 0], gradient=gradient - gradient[0], bound=found.bound[::-1])


def verdict(norm: Float64[np.ndarray, " lag"]) -> str:
    """Say what a product of Jacobians does, from log10 of its norm by lag: explodes, vanishes, or neither."""
    if np.isnan(norm).any():
        return "is not finite"
    if norm.max() > np.log10(FACTOR):
        return "explodes"
    return "vanishes" if norm[-1] < -np.log10(FACTOR) else "does neither"


def _table(every: list[Contribution]) -> Table:
    def row(each: Contribution) -> tuple[str, ...]:
        norm = middle(each.norm)[::-1]
        return each.name, verdict(norm), power(float(norm[-1])), power(float(norm.max()))

    return Table(
        title=f"What the networks of this page do over {len(every[0].norm) - 1} steps back",
        header=("network", "its gradient", "‖∂h_T/∂h_0‖", "largest at any lag"),
        rows=[row(each) for each in every],
        caption=f"It vanishes if less than 1/{FACTOR} is left at the first step, and explodes if it is above {FACTOR} "
        "at any lag. Of several sequences, the median.",
    )


def _figure(shown: tuple[Pole, ...]) -> Figure:
    # Narrow enough for a phone to show both panels at once, in letters that stay readable there.
    figure = Figure(figsize=(6.9, 4.0), dpi=DPI, layout="constrained")
    every = figure.subplots(1, len(shown), sharex=True, sharey=True)
    for axes, each in zip(every, shown, strict=True):
        lags = np.arange(len(each.norm))
        axes.axhline(0, color=GREY, linewidth=1)
        axes.plot(lags, finite(each.gradient), color=COLORS[0], linewidth=2.6, label="gradient")
        axes.plot(lags, finite(each.norm), color=COLORS[1], linewidth=2.2, label="most it can keep")
        axes.plot(lags, each.bound, color=GREY, linewidth=1.8, linestyle=DASHED, label="bound")
        label(axes, x="lag, time steps", size=13)
        axes.set_title(f"ρ = {each.radius:g}: {each.verdict}", fontsize=14, loc="left", color=INK)
        axes.tick_params(labelsize=13)
    measured = np.concatenate([values for each in shown for values in (each.norm, each.gradient)])
    every[0].set_ylim(measured[np.isfinite(measured)].min() - 1, measured[np.isfinite(measured)].max() + 2)
    every[0].yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    every[0].yaxis.set_major_formatter(FuncFormatter(power_of_ten))
    every[0].set_ylabel("factor on the gradient", fontsize=13, color=INK)
    figure.legend(
        *every[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=13
    )
    return figure
