"""Figures of what is left of early states and inputs."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnstudy.lessons.notebook_curve import NotebookCurve
from rnnstudy.plotting.style import COLORS, DPI, INK, plain
from rnnstudy.theory.drawing import draw_contributions
from rnnstudy.theory.measures.contributions import Contribution, Gradient, middle, power
from rnnstudy.theory.section import Picture, picture

MOST_PANELS = 8


def states_figure(every: Sequence[Contribution]) -> Picture:
    """Draw what is left of every state, each on axes of its own."""
    shown = every[:MOST_PANELS]
    figure, panels = _panels(len(shown))
    for axes, each in zip(panels, shown, strict=True):
        figures = {
            "spectral norm": each.found.log10_norm,
            "largest entry": each.found.log10_largest,
            "rms gain": each.found.log10_gain,
        }
        theory = {"product of the Jacobians' norms": middle(each.steps)}
        if each.bound is not None:
            theory["bound (γσ)^(T-k)"] = each.bound
        draw_contributions(axes, {label: middle(found[:, 0].numpy()) for label, found in figures.items()}, theory)
        _band(axes, each.norm, COLORS[0])
        _finish(axes, each.name, f"size of ∂{each.state}_T/∂{each.state}_k")
    _share_legend(figure, panels)
    told = ", ".join(f"{each.name} {power(float(middle(each.norm)[0]))}" for each in shown)
    return picture(
        figure,
        "contributions",
        f"What is left of the state at every time step at the last one, with bounds. Spectral norm for step 0: {told}."
        + _not_drawn(every),
    )


def inputs_figure(every: Sequence[Contribution]) -> Picture:
    """Draw what is left of every input, beside the state's."""
    shown = every[:MOST_PANELS]
    figure, panels = _panels(len(shown))
    for axes, each in zip(panels, shown, strict=True):
        measured = {
            "of the state, for comparison: ‖∂s_T/∂s_k‖": middle(each.norm),
            "of the input: ‖∂s_T/∂x_k‖": middle(each.of_input),
        }
        theory = {} if each.input_bound is None else {"bound of the input's: (γσ)^(T-k) γ‖W_hx‖": each.input_bound}
        draw_contributions(axes, measured, theory)
        axes.lines[0].set(alpha=0.35, linewidth=1.4)
        _band(axes, each.of_input, COLORS[1])
        _finish(axes, each.name, f"change of {each.state}_T per change of 1")
    _share_legend(figure, panels)
    told = ", ".join(f"{each.name} {power(float(middle(each.of_input)[0]))}" for each in shown)
    return picture(
        figure,
        "contributions_inputs",
        f"What is left of the input of every time step at the last one, beside the state's. For step 0: {told}."
        + _not_drawn(every),
    )


def gradient_figure(gradients: Sequence[Gradient]) -> Picture:
    """Draw the measured gradient beside the Jacobian product, each layer on axes of its own."""
    shown = gradients[:MOST_PANELS]
    figure, panels = _panels(len(shown))
    for axes, each in zip(panels, shown, strict=True):
        draw_contributions(
            axes,
            {"product: ‖∂h_T/∂h_k‖": middle(each.norm), "gradient: ‖dL/dh_k‖ / ‖dL/dh_T‖": middle(each.gradient)},
            {},
        )
        _band(axes, each.norm, COLORS[0])
        _band(axes, each.gradient, COLORS[1])
        _finish(axes, each.name, "factor from k to T")
    _share_legend(figure, panels)
    told = ", ".join(
        f"{each.name} {power(float(middle(each.gradient)[0]))} and {power(float(middle(each.norm)[0]))}"
        for each in shown
    )
    return picture(
        figure,
        "contributions_gradient",
        f"Measured gradient of the loss over its last value, beside the norm of the Jacobian product, for every step. "
        f"At step 0, gradient and product: {told}." + _not_drawn(gradients),
    )


def notebook_figure(curves: Mapping[str, NotebookCurve]) -> Picture:
    """Draw the notebook's curve beside the true norm, each case on axes of its own."""
    figure, panels = _panels(len(curves))
    for axes, (case, curve) in zip(panels, curves.items(), strict=True):
        measured = {
            "published: products of column sums": curve.published,
            "true: norm of the Jacobian product": curve.true_norm,
        }
        theory = {"bound (σ/4)^(21-k)": curve.bound, "eigenvalue rule (ρ/4)^(21-k)": curve.eigenvalue_rule}
        draw_contributions(
            axes,
            {label: np.log10(values) for label, values in measured.items()},
            {label: np.log10(values) for label, values in theory.items()},
            first_step=1,
        )
        _finish(axes, case, "size of the product from k to 20")
    _share_legend(figure, panels)
    told = "; ".join(
        f"{case}: published {curve.published[0]:.2e}, true {curve.true_norm[0]:.2e}" for case, curve in curves.items()
    )
    return picture(
        figure,
        "notebook_curve",
        f"A lecture notebook's curve beside the norm of the true Jacobian product. At k = 1, {told}.",
    )


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """Make a figure of axes in two columns, and one alone in the middle of the page."""
    rows = -(-count // 2)
    figure = Figure(figsize=(7.6, 4.2) if count == 1 else (11, 3.3 * rows + 0.6), dpi=DPI, layout="constrained")
    axes: list[Axes] = list(figure.subplots(rows, min(count, 2), squeeze=False).flat)
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def _share_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Name the lines once, above all axes, in place of a legend on each."""
    named = {}
    for each in axes:
        handles, labels = each.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
        if (own := each.get_legend()) is not None:
            own.remove()
    columns = min(len(named), 3)
    figure.legend(
        list(named.values()), list(named), loc="outside upper center", ncols=columns, frameon=False, fontsize=10
    )


def _finish(axes: Axes, title: str, label: str) -> None:
    axes.set_title(plain(title), fontsize=11, loc="left", color=INK)
    axes.set_ylabel(label, color=INK, fontsize=11)


def _band(axes: Axes, values: Float64[np.ndarray, "time batch"], color: str) -> None:
    """Show the range over sequences behind a median."""
    if values.shape[1] > 1:
        finite = np.where(np.isfinite(values), values, np.nan)
        axes.fill_between(np.arange(len(values)), finite.min(axis=1), finite.max(axis=1), color=color, alpha=0.18, lw=0)


def _not_drawn(every: Sequence[object]) -> str:
    return f" {len(every) - MOST_PANELS} more are not drawn." if len(every) > MOST_PANELS else ""
