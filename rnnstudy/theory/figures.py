"""Frames shared by the figures of theory, and curves that explain vanishing and exploding, in the report's style."""

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rnnstudy.gradients.activation_curves import ActivationCurve, tangent
from rnnstudy.plotting.style import COLORS, DPI, GREY, INK, plain, tidy

CURVE, SLOPE, TANGENT = COLORS[0], COLORS[2], COLORS[1]
SPAN = 8.0
"""Activations are drawn from -8 to 8, or farther to reach the point of the tangent."""
DASHED, DOTTED = (0, (5, 3)), (0, (1.2, 1.6))


def single(height: float) -> tuple[Figure, Axes]:
    """Return a figure with one axes, `height` inches high, in the middle of the page."""
    figure = Figure(figsize=(7.6, height), dpi=DPI, layout="constrained")
    return figure, figure.add_subplot()


def panels(
    count: int, columns: int, *, height: float, more: float = 0.0, alone: float | None = None, shared: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a page-wide figure, narrower if `count` is 1, with `count` axes; spare places of the last row are empty.

    A row is `height` inches high, `more` inches stand above or below all rows, and a lone axes makes the figure `alone`
    inches high, if given. `shared` gives all axes the same limits.
    """
    columns = min(count, columns)
    rows = -(-count // columns)
    size = (11, height * rows + more) if count > 1 else (7.6, alone or height + more)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = list(figure.subplots(rows, columns, sharex=shared, sharey=shared, squeeze=False).flat)
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def label(axes: Axes, *, title: str = "", note: str = "", x: str = "", y: str = "", size: float = 11) -> None:
    """Label axes in the report's style; the note follows the title, and empty texts change nothing."""
    if title:
        axes.set_title(plain(title) + note, fontsize=11, loc="left", color=INK)
    if x:
        axes.set_xlabel(x, color=INK, fontsize=size)
    if y:
        axes.set_ylabel(y, color=INK, fontsize=size)
    tidy(axes)


def legend_above(axes: Axes, columns: int = 3) -> None:
    """Put the legend above the axes, where it covers no data."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, fontsize=10, borderaxespad=0.3)


def share_legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """Replace the legends of the panels by one above them all."""
    named = {}
    for axes in panels:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
        if (own := axes.get_legend()) is not None:
            own.remove()
    figure.legend(
        [*named.values()], [*named], loc="outside upper center", ncols=min(len(named), 3), frameon=False, fontsize=10
    )


def finite(values: np.ndarray) -> np.ndarray:
    """Replace infinite values by NaN, which leaves a gap in a line."""
    return np.where(np.isfinite(values), values, np.nan)


def power_of_ten(power: float, _: int | None = None) -> str:
    """Return the label of a tick at log10 of its value."""
    return f"$10^{{{power:.0f}}}$"


def draw_activation(axes: Axes, curve: ActivationCurve, point: float) -> None:
    """Draw an activation with its tangent at a point."""
    x = _abscissa(point)
    values, touching = curve.value(x), tangent(curve, point)
    axes.plot(x, values, color=CURVE, linewidth=2.4, label="f(x)")
    axes.plot(x, touching.height(x), color=TANGENT, linewidth=1.8, linestyle=DASHED, label="tangent")
    _mark(axes, point, touching.value)
    margin = 0.12 * max(float(np.ptp(values)), 1.0)
    axes.set_ylim(float(values.min()) - margin, float(values.max()) + margin)
    _finish(axes, x, f"{curve.name}: f(x)")


def draw_slope(axes: Axes, curve: ActivationCurve, point: float) -> None:
    """Draw the derivative of an activation, its bound gamma, and the slope at a point."""
    x = _abscissa(point)
    slopes, slope = curve.slope(x), float(curve.slope(point))
    bound = rf"bound $\gamma$ = {curve.bound:.4g}"
    axes.axhline(curve.bound, color=GREY, linewidth=1.6, linestyle=DOTTED, label=bound)
    axes.plot(x, slopes, color=SLOPE, linewidth=2.4, label="f'(x)")
    _mark(axes, point, slope, label=f"{slope:.3g}")
    axes.set_ylim(min(0.0, float(slopes.min())) - 0.06 * curve.bound, 1.12 * curve.bound)
    _finish(axes, x, "slope f'(x)")


def _mark(axes: Axes, x: float, y: float, label: str | None = None) -> None:
    axes.plot([x], [y], marker="o", markersize=8, color=TANGENT, linestyle="none", zorder=4, label=label)


def draw_contributions(
    axes: Axes,
    measured: Mapping[str, Float64[np.ndarray, " time"]],
    theory: Mapping[str, Float64[np.ndarray, " time"]],
    *,
    first_step: int = 0,
) -> None:
    """Draw the remainder of every time step at the last one: log10 of norms by label, from time step `first_step` on.

    `measured` curves are solid. Those of `theory`, bounds and rules, are broken and may leave the axes, so that the
    measured ones keep their shape. Values that are not finite are left out.
    """
    assert len(measured) <= len(COLORS)
    assert len(theory) <= 2
    drawn: list[float] = [0.0]
    for color, (name, values) in zip(COLORS, measured.items(), strict=False):
        steps = first_step + np.arange(len(values))
        axes.plot(steps, finite(values), color=color, linewidth=2.2, marker="o", markersize=3.2, label=name, zorder=3)
        drawn += values[np.isfinite(values)].tolist()
    low, high = min(drawn), max(drawn)
    room = max(high - low, 2.0)
    for dash, (name, values) in zip((DASHED, DOTTED), theory.items(), strict=False):
        steps = first_step + np.arange(len(values))
        axes.plot(steps, finite(values), color=GREY, linewidth=1.8, linestyle=dash, label=name)
        within = values[np.isfinite(values)]
        if within.size:
            low, high = max(min(low, float(within.min())), low - room), min(max(high, float(within.max())), high + room)
    axes.set_ylim(low - 0.05 * (high - low) - 0.3, high + 0.05 * (high - low) + 0.3)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=2))
    axes.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, steps=[1, 2, 5, 10]))
    _legend(axes)
    label(axes, x="time step k")


def _abscissa(point: float) -> Float64[np.ndarray, " points"]:
    span = max(SPAN, 1.2 * abs(point))
    return np.linspace(-span, span, 1601)


def _finish(axes: Axes, x: np.ndarray, y: str) -> None:
    axes.set_xlim(float(x[0]), float(x[-1]))
    _legend(axes)
    label(axes, x="x", y=y)


def _legend(axes: Axes) -> None:
    count = len(axes.get_legend_handles_labels()[1])
    legend_above(axes, columns=count if count <= 3 else 2)
