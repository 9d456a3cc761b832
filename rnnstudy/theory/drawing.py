"""Curves that explain vanishing and exploding, drawn into given axes in the look of the report."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rnnstudy.gradients.activation_curves import ActivationCurve, tangent
from rnnstudy.plotting.style import COLORS, INK, tidy

CURVE, SLOPE, TANGENT = COLORS[0], COLORS[2], COLORS[1]
GREY = "#666666"
SPAN = 8.0
"""Activations are drawn from -8 to 8, farther where the point of the tangent is."""
_DASHES = ((0, (5, 3)), (0, (1.2, 1.6)))


def draw_activation(axes: Axes, curve: ActivationCurve, point: float) -> None:
    """Draw an activation with its tangent at a point."""
    x = _abscissa(point)
    values, touching = curve.value(x), tangent(curve, point)
    axes.plot(x, values, color=CURVE, linewidth=2.4, label="f(x)")
    axes.plot(x, touching.height(x), color=TANGENT, linewidth=1.8, linestyle=_DASHES[0], label="tangent")
    axes.plot([point], [touching.value], marker="o", markersize=8, color=TANGENT, linestyle="none", zorder=4)
    margin = 0.12 * max(float(np.ptp(values)), 1.0)
    axes.set_ylim(float(values.min()) - margin, float(values.max()) + margin)
    _finish(axes, x, f"{curve.name}: f(x)")


def draw_slope(axes: Axes, curve: ActivationCurve, point: float) -> None:
    """Draw the derivative of an activation, its bound gamma, and the slope at a point."""
    x = _abscissa(point)
    slopes, slope = curve.slope(x), float(curve.slope(point))
    axes.axhline(
        curve.bound, color=GREY, linewidth=1.6, linestyle=_DASHES[1], label=rf"bound $\gamma$ = {curve.bound:.4g}"
    )
    axes.plot(x, slopes, color=SLOPE, linewidth=2.4, label="f'(x)")
    axes.plot(
        [point], [slope], marker="o", markersize=8, color=TANGENT, linestyle="none", zorder=4, label=f"{slope:.3g}"
    )
    axes.set_ylim(min(0.0, float(slopes.min())) - 0.06 * curve.bound, 1.12 * curve.bound)
    _finish(axes, x, "slope f'(x)")


def draw_contributions(
    axes: Axes,
    measured: Mapping[str, Float64[np.ndarray, " time"]],
    theory: Mapping[str, Float64[np.ndarray, " time"]],
    *,
    first_step: int = 0,
) -> None:
    """Draw how much of every time step is left at the last one.

    Bounds may leave the axes, so that the measured curves keep their shape.

    Args:
        axes: Where to.
        measured: By label, log10 of norms, one per time step; drawn as lines. What is not finite is left out.
        theory: The same of bounds and rules; drawn broken.
        first_step: The time step that the first entries belong to.
    """
    assert len(measured) <= len(COLORS)
    assert len(theory) <= len(_DASHES)
    drawn: list[float] = [0.0]
    for color, (label, values) in zip(COLORS, measured.items(), strict=False):
        finite = np.where(np.isfinite(values), values, np.nan)
        steps = first_step + np.arange(len(values))
        axes.plot(steps, finite, color=color, linewidth=2.2, marker="o", markersize=3.2, label=label, zorder=3)
        drawn += finite[np.isfinite(finite)].tolist()
    low, high = min(drawn), max(drawn)
    room = max(high - low, 2.0)
    for dash, (label, values) in zip(_DASHES, theory.items(), strict=False):
        steps = first_step + np.arange(len(values))
        axes.plot(
            steps, np.where(np.isfinite(values), values, np.nan), color=GREY, linewidth=1.8, linestyle=dash, label=label
        )
        within = values[np.isfinite(values)]
        if within.size:
            low, high = max(min(low, float(within.min())), low - room), min(max(high, float(within.max())), high + room)
    axes.set_ylim(low - 0.05 * (high - low) - 0.3, high + 0.05 * (high - low) + 0.3)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=2))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda power, _: f"$10^{{{power:.0f}}}$"))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("time step k", color=INK, fontsize=11)
    _legend(axes)
    tidy(axes)


def _abscissa(point: float) -> Float64[np.ndarray, " points"]:
    span = max(SPAN, 1.2 * abs(point))
    return np.linspace(-span, span, 1601)


def _finish(axes: Axes, x: np.ndarray, label: str) -> None:
    axes.set_xlim(float(x[0]), float(x[-1]))
    axes.set_xlabel("x", color=INK, fontsize=11)
    axes.set_ylabel(label, color=INK, fontsize=11)
    _legend(axes)
    tidy(axes)


def _legend(axes: Axes) -> None:
    """Name the lines above the axes, where no data is."""
    count = len(axes.get_legend_handles_labels()[1])
    columns = count if count <= 3 else 2
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, fontsize=10, borderaxespad=0.3)
