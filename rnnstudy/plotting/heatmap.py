"""Gradient norms over time steps and training, drawn as a heatmap."""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator

COLOR_MAP = "viridis"
ZERO_COLOR = "#c9ced6"
NON_FINITE_COLOR = "#d55e00"

FIXED_RANGE = (-12.0, 3.0)
"""log10 of the norms at the ends of TensorBoard's colour range: one range for all runs, as it shows them together."""

_MAX_DECADES = 40.0  # float32 spans some 45 decades: a wider scale would show nothing of the rest
_MAX_LINES = 3  # more lines would hide the map


def log10_norms(norms: np.ndarray) -> np.ndarray:
    """Return `log10(norms)` without warnings: `-inf` for zeros, `+inf` and NaN as they are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log10(np.asarray(norms, dtype=np.float64))


def shared_range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the ends of one colour range for finite log10 norms: the 1st to 99th percentile, at most 40 decades."""
    finite = finite_of(values)
    if not finite.size:
        return -1.0, 0.0
    low, high = (float(value) for value in np.percentile(finite, [1.0, 99.0]))
    low = max(low, high - _MAX_DECADES)
    return (low, high) if high - low > 1e-6 else (low - 0.5, high + 0.5)


def draw_heatmap(
    axes: Axes,
    *,
    steps: np.ndarray,
    values: np.ndarray,
    value_range: tuple[float, float] | None = None,
    informative_steps: Sequence[int] = (),
) -> QuadMesh:
    """Return what a colour bar needs, after drawing log10 norms; x is the time step, y the optimizer step.

    Args:
        axes: Axes to draw on.
        steps: Optimizer step of each row, ascending; shape `(probe,)`.
        values: log10 norms, shape `(probe, time)`; `-inf` (an exact zero) and NaN or `+inf` have their own colours.
        value_range: Ends of the colours; `shared_range` of the values if None.
        informative_steps: Time steps to mark.
    """
    low, high = value_range or shared_range([values])
    x_edges = np.arange(values.shape[1] + 1) - 0.5
    y_edges = _edges(np.asarray(steps, dtype=np.float64))
    shown = np.ma.masked_invalid(values)
    mesh = axes.pcolormesh(x_edges, y_edges, shown, cmap=COLOR_MAP, vmin=low, vmax=high, rasterized=True)
    for special, color in _special(values):
        if special.any():
            layer = np.ma.masked_where(~special, np.ones_like(values))
            axes.pcolormesh(x_edges, y_edges, layer, cmap=ListedColormap([color]), rasterized=True)
    axes.set_xlim(x_edges[0], x_edges[-1])
    axes.set_ylim(y_edges[0], y_edges[-1])
    _mark(axes, informative_steps)
    ticks = MaxNLocator(6, integer=True).tick_values(float(steps[0]), float(steps[-1]))
    # The first cell reaches below its step: without this the axis would count negative steps.
    axes.set_yticks([tick for tick in ticks if steps[0] <= tick <= steps[-1]] or [float(steps[0])])
    return mesh


def finite_of(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return all finite values of some arrays, concatenated."""
    return np.concatenate([each[np.isfinite(each)] for each in values] or [np.empty(0)])


def special_handles(values: Sequence[np.ndarray]) -> list[Artist]:
    """Return legend entries for the cells that are off the colour scale."""
    return [
        Patch(facecolor=color, edgecolor="#666666", label=label)
        for kind, (color, label) in enumerate(((ZERO_COLOR, "exactly zero"), (NON_FINITE_COLOR, "NaN or infinite")))
        if any(_special(each)[kind][0].any() for each in values)
    ]


def extend_of(values: Sequence[np.ndarray], value_range: tuple[float, float]) -> str:
    """Return which ends of a colour bar need an arrow: "neither", "min", "max" or "both"."""
    finite = finite_of(values)
    below, above = bool((finite < value_range[0]).any()), bool((finite > value_range[1]).any())
    return "both" if below and above else "min" if below else "max" if above else "neither"


class HeatmapImage:
    """Renders heatmaps that stand alone, all on one colour scale, so that those of several runs can be compared.

    It keeps one figure and draws on it again: layout takes longer than drawing.

    Args:
        informative_steps: Time steps to mark.
    """

    def __init__(self, informative_steps: Sequence[int] = ()) -> None:
        """Lay out the figure."""
        self._informative_steps = informative_steps
        # TensorBoard shows it half as large as it is: few inches and many dots keep the text legible.
        self._figure = Figure(figsize=(4.2, 2.8), dpi=150)
        self._canvas = FigureCanvasAgg(self._figure)
        self._axes = self._figure.add_axes((0.18, 0.18, 0.62, 0.62))
        scale = ScalarMappable(Normalize(*FIXED_RANGE), COLOR_MAP)
        ticks = range(int(FIXED_RANGE[0]), int(FIXED_RANGE[1]) + 1, 3)
        bar = self._figure.add_axes((0.83, 0.18, 0.03, 0.62))
        self._figure.colorbar(scale, cax=bar, label="log10 of the norm", extend="both", ticks=list(ticks))

    def render(self, title: str, steps: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return one heatmap as RGB pixels, uint8, shape `(420, 630, 3)`; steps and values are as in `draw_heatmap`."""
        axes, marked = self._axes, self._informative_steps
        axes.clear()
        draw_heatmap(axes, steps=steps, values=values, value_range=FIXED_RANGE, informative_steps=marked)
        axes.set_xlabel("time step")
        axes.set_ylabel("training step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(title, fontsize=9, loc="left", pad=20)
        if handles := special_handles([values]):
            legend = axes.legend(
                handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9
            )
            legend.set_in_layout(False)
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()


def _special(values: np.ndarray) -> tuple[tuple[np.ndarray, str], tuple[np.ndarray, str]]:
    zeros = np.isneginf(values)
    return (zeros, ZERO_COLOR), (~np.isfinite(values) & ~zeros, NON_FINITE_COLOR)


def _edges(centers: np.ndarray) -> np.ndarray:
    """Return cell borders: halfway between neighbours, and as far beyond the ends."""
    if len(centers) == 1:
        return np.array([centers[0] - 0.5, centers[0] + 0.5])
    middles = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - middles[0]], middles, [2 * centers[-1] - middles[-1]]])


def _mark(axes: Axes, informative_steps: Sequence[int]) -> None:
    low, high = axes.get_xlim()
    # Where information can be at any time step, marks would say nothing.
    if not informative_steps or len(informative_steps) >= high - low:
        return
    if len(informative_steps) <= _MAX_LINES:
        outline = [Stroke(linewidth=3.0, foreground="black", alpha=0.6), Normal()]
        for step in informative_steps:
            axes.axvline(step, color="white", linewidth=1.3, linestyle="--", path_effects=outline)
    top, places = axes.get_xaxis_transform(), list(informative_steps)
    look = {"linestyle": "none", "marker": "v", "markersize": 7, "color": "black"}
    axes.plot(places, [1.0] * len(places), transform=top, clip_on=False, zorder=5, **look)
