"""Figures of the remainders of early states and inputs."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnstudy.lessons.notebook_curve import NotebookCurve
from rnnstudy.plotting.style import COLORS
from rnnstudy.theory.figures import draw_contributions, finite, label, panels, share_legend
from rnnstudy.theory.measures.contributions import Contribution, LossGradient, at_start, middle
from rnnstudy.theory.measures.networks import N, families
from rnnstudy.theory.topic import Picture

MOST_PANELS = 8

T = TypeVar("T")


def states_picture(every: Sequence[Contribution]) -> Picture:
    """Return a figure with the remainder of every state, each on its own axes."""

    def draw(axes: Axes, family: Sequence[Contribution]) -> None:
        each = family[0]
        if len(family) > 1:
            _by_radius(axes, family, lambda one: one.norm)
        else:
            theory = {"product of the Jacobians' norms": middle(each.steps)}
            if each.bound is not None:
                theory["bound (γσ)^(T-k)"] = each.bound
            measured = {name: middle(values) for name, values in each.figures.items()}
            draw_contributions(axes, measured, theory)
            _band(axes, each.norm, COLORS[0])
        label(axes, title=each.family, y=f"size of ∂{each.state}_T/∂{each.state}_k")

    return Picture(
        name="contributions",
        alt="What is left of the state at every time step at the last one. Spectral norm for step 0: "
        + _listed(every, lambda each: f"{each.name} {at_start(each.norm)}"),
        draw=lambda: _figure(families(every), draw),
    )


def inputs_picture(every: Sequence[Contribution]) -> Picture:
    """Return a figure with the remainder of every input, beside that of the state."""

    def draw(axes: Axes, family: Sequence[Contribution]) -> None:
        each = family[0]
        if len(family) > 1:
            _by_radius(axes, family, lambda one: one.of_input)
        else:
            measured = {
                "of the state, for comparison: ‖∂s_T/∂s_k‖": middle(each.norm),
                "of the input: ‖∂s_T/∂x_k‖": middle(each.of_input),
            }
            bound = each.input_bound
            theory = {} if bound is None else {"bound of the input's: (γσ)^(T-k) γ‖W_hx‖": bound}
            draw_contributions(axes, measured, theory)
            axes.lines[0].set(alpha=0.35, linewidth=1.4)
            _band(axes, each.of_input, COLORS[1])
        label(axes, title=each.family, y=f"change of {each.state}_T per change of 1")

    return Picture(
        name="contributions_inputs",
        alt="What is left of the input of every time step at the last one. For step 0: "
        + _listed(every, lambda each: f"{each.name} {at_start(each.of_input)}"),
        draw=lambda: _figure(families(every), draw),
    )


def gradient_picture(gradients: Sequence[LossGradient]) -> Picture:
    """Return a figure with the measured gradient beside the Jacobian product, each layer on its own axes."""

    def draw(axes: Axes, family: Sequence[LossGradient]) -> None:
        each = family[0]
        if len(family) > 1:
            _by_radius(axes, family, lambda one: one.gradient)
        else:
            measured = {"product: ‖∂h_T/∂h_k‖": each.norm, "gradient: ‖dL/dh_k‖ / ‖dL/dh_T‖": each.gradient}
            draw_contributions(axes, {name: middle(values) for name, values in measured.items()}, {})
            for values, color in zip(measured.values(), COLORS, strict=False):
                _band(axes, values, color)
        label(axes, title=each.family, y="factor from k to T")

    return Picture(
        name="contributions_gradient",
        alt="Measured gradient of the loss over its last value, for every step. At step 0, this gradient and the norm "
        "of the Jacobian product: "
        + _listed(gradients, lambda each: f"{each.name} {at_start(each.gradient)} and {at_start(each.norm)}"),
        draw=lambda: _figure(families(gradients), draw),
    )


def notebook_picture(curves: Mapping[str, NotebookCurve]) -> Picture:
    """Return a figure with the notebook's curve beside the true norm, each case on its own axes."""

    def draw(axes: Axes, item: tuple[str, NotebookCurve]) -> None:
        case, curve = item
        measured = {
            "published: products of column sums": np.log10(curve.published),
            "true: norm of the Jacobian product": np.log10(curve.true_norm),
        }
        theory = {
            "bound (σ/4)^(21-k)": np.log10(curve.bound),
            "eigenvalue rule (ρ/4)^(21-k)": np.log10(curve.eigenvalue_rule),
        }
        draw_contributions(axes, measured, theory, first_step=1)
        label(axes, title=case, y="size of the product from k to 20")

    first = "; ".join(
        f"{case}: published {curve.published[0]:.2e}, true {curve.true_norm[0]:.2e}" for case, curve in curves.items()
    )
    return Picture(
        name="notebook_curve",
        alt=f"A lecture notebook's curve beside the norm of the true Jacobian product. At k = 1, {first}.",
        draw=lambda: _figure([*curves.items()], draw),
    )


def _by_radius(axes: Axes, family: Sequence[N], value: Callable[[N], Float64[np.ndarray, "time batch"]]) -> None:
    draw_contributions(axes, {each.radius_name: middle(value(each)) for each in family}, {})


def _figure(every: Sequence[T], draw: Callable[[Axes, T], None]) -> Figure:
    """Draw each on its own axes, with one legend."""
    shown = every[:MOST_PANELS]
    figure, axes = panels(len(shown), 2, height=3.3, more=0.6, alone=4.2)
    for panel, each in zip(axes, shown, strict=True):
        draw(panel, each)
    share_legend(figure, axes)
    return figure


def _listed(every: Sequence[N], words: Callable[[N], str]) -> str:
    drawn = [words(each) for family in families(every)[:MOST_PANELS] for each in family]
    left_out = len(every) - len(drawn)
    return f"{', '.join(drawn)}." + (f" {left_out} more are not drawn." if left_out else "")


def _band(axes: Axes, values: Float64[np.ndarray, "time batch"], color: str) -> None:
    """Shade the range over sequences behind a median."""
    if values.shape[1] > 1:
        known = finite(values)
        axes.fill_between(np.arange(len(values)), known.min(axis=1), known.max(axis=1), color=color, alpha=0.18, lw=0)
