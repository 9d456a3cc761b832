"""The cliff: a wall in the error surface of one unit, and gradient descent over it with and without clipping."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnstudy.lessons.cliff import NUM_STEPS as T
from rnnstudy.lessons.cliff import TARGET, Descent, cliff, descend, wall
from rnnstudy.plotting.style import COLORS, INK
from rnnstudy.theory.figures import label, panels, share_legend
from rnnstudy.theory.topic import Picture, Table, Topic

START, LEARNING_RATE, MAX_NORM, UPDATES = (5.5, -2.6), 0.5, 0.5, 100
ASIDE = 0.1
"""Distance in b from the wall at which gradients are compared with those on it."""
_W, _B = (3.6, 6.0), (-3.2, -1.6)
_PLAIN, _CLIPPED = "without clipping", f"clipped at {MAX_NORM:g}"
_ON_THE_WALL = (4.0, 4.5, 5.0, 5.5, 6.0)


def explain_cliff() -> Topic:
    """Show the error surface, the gradient on its wall, and both descents from the same start."""
    plain = descend(START, learning_rate=LEARNING_RATE, num_updates=UPDATES)
    clipped = descend(START, learning_rate=LEARNING_RATE, num_updates=UPDATES, max_norm=MAX_NORM)
    hit, far = int(plain.norm.argmax()), plain.points[-1]
    leap = float(np.hypot(*(plain.points[hit + 1] - plain.points[hit])))
    return Topic(
        title="The cliff: what clipping is for",
        text=(
            f"One unit without inputs: x_t = w sigmoid(x_(t-1)) + b, x_0 = 0.5, with the error E = (sigmoid(x_{T}) - "
            f"{TARGET:g})^2. On the line b = 0.5 - w sigmoid(0.5) the state stays at 0.5, and dx_{T}/dx_0 = (w "
            f"sigmoid'(0.5))^{T}. From w = 4.26 on that factor explodes: x_{T} is high on one side of the line "
            "and low on the other, and E has a wall between them. Beside the wall its slope is ordinary.",
            f"Gradient descent with the exact gradient starts at w = {START[0]:g}, b = {START[1]:g}. It crosses the "
            "wall a few times, which does no harm where it lands beside it. After "
            f"{hit} updates it stands on the wall: the gradient has the length {plain.norm[hit]:.4g}.",
            f"Without clipping the next update moves it by {leap:.4g}, to w = {far[0]:.4g}, b = {far[1]:.4g}. There "
            f"the sigmoid is flat: the gradient is {_number(plain.norm[-1])}, and the error stays at "
            f"{plain.error[-1]:.2g}. Clipped to the length {MAX_NORM:g}, the same gradient moves it by "
            f"{MAX_NORM * LEARNING_RATE:g}. It meets the wall again and again, but it stays near: after {UPDATES} "
            f"updates E is {clipped.error[-1]:.1g}, and {clipped.error.min():.1g} at best.",
            "How far an update leaps depends on how close to the wall the one before happened to land. Clipping bounds "
            "every update. It keeps the direction, and it doesn't remove the wall.",
        ),
        tables=(_wall_table(), _paths_table({_PLAIN: plain, _CLIPPED: clipped})),
        pictures=(
            Picture(
                name="cliff",
                alt=f"Left: the error over w and b, with its wall; without clipping, descent leaves the picture after "
                f"update {hit}, with clipping it stays. Right: the error after every update, at the end "
                f"{plain.error[-1]:.2g} without clipping and {clipped.error[-1]:.2g} with it.",
                draw=lambda: _figure(plain, clipped),
            ),
        ),
    )


def _wall_table() -> Table:
    w = np.array(_ON_THE_WALL)
    b = wall(w)
    on, above, below = cliff(w, b), cliff(w, b + ASIDE), cliff(w, b - ASIDE)
    columns = (on.state_gain, on.norm, above.norm, below.norm)
    return Table(
        title="On the wall and beside it",
        header=("w", "b on the wall", f"dx_{T}/dx_0", "‖∇E‖ there", f"at b + {ASIDE:g}", f"at b - {ASIDE:g}"),
        rows=[(f"{w[row]:g}", f"{b[row]:.4f}", *(f"{values[row]:.3g}" for values in columns)) for row in range(len(w))],
        caption="‖∇E‖: length of (dE/dw, dE/db). At w = 4 the fixed point is stable, so there is no wall.",
    )


def _paths_table(paths: dict[str, Descent]) -> Table:
    steps = [np.hypot(*np.diff(path.points, axis=0).T) for path in paths.values()]
    figures = {
        "largest gradient": [f"{path.norm.max():.4g}" for path in paths.values()],
        "longest update": [f"{each.max():.4g}" for each in steps],
        "updates clipped": [str(path.clipped) for path in paths.values()],
        "w at the end": [f"{path.points[-1, 0]:.4g}" for path in paths.values()],
        "b at the end": [f"{path.points[-1, 1]:.4g}" for path in paths.values()],
        "E at the end": [f"{path.error[-1]:.2g}" for path in paths.values()],
    }
    return Table(
        title=f"{UPDATES} updates of gradient descent from the same start, learning rate {LEARNING_RATE:g}",
        header=("", *paths),
        rows=[(name, *values) for name, values in figures.items()],
    )


def _number(value: float) -> str:
    return f"{value:.1g}" if value else "exactly 0 in float64"


def _figure(plain: Descent, clipped: Descent) -> Figure:
    figure, (surface, errors) = panels(2, 2, height=4.6, more=0.3)
    w, b = np.meshgrid(np.linspace(*_W, 481), np.linspace(*_B, 321))
    mesh = surface.pcolormesh(
        w, b, cliff(w, b).error, cmap=colormaps["Greys"], vmin=0, vmax=0.6, shading="nearest", rasterized=True
    )
    bar = figure.colorbar(mesh, ax=surface, location="bottom", shrink=0.8, aspect=40)
    bar.set_label("error E", color=INK, fontsize=10)
    looks = {_PLAIN: (plain, COLORS[1], "s"), _CLIPPED: (clipped, COLORS[0], "o")}
    for name, (path, color, marker) in looks.items():
        look = {"color": color, "marker": marker, "linewidth": 1.6, "label": name}
        surface.plot(*path.points.T, **look, markersize=4)
        errors.plot(path.error, **look, markersize=2.5)
    _note(surface, plain)
    surface.set(xlim=_W, ylim=_B)
    label(surface, x="w", y="b")
    surface.grid(visible=False)
    errors.set_yscale("log")
    label(errors, x="update", y="error E")
    share_legend(figure, (surface, errors))
    return figure


def _note(axes: Axes, plain: Descent) -> None:
    """Mark the start, and where the path without clipping leaves the picture."""
    w, b = plain.points[-1]
    axes.annotate("start", plain.points[0], (8, 0), textcoords="offset points", fontsize=10, color=INK, va="center")
    axes.text(
        0.9, 0.93, f"to w = {w:.4g}, b = {b:.4g}", transform=axes.transAxes, ha="right", fontsize=10, color=COLORS[1]
    )
