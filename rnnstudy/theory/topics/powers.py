"""Powers: the effect of repeated multiplication without a nonlinearity."""

import numpy as np
from jaxtyping import Float64
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnnstudy.lessons.powers import gradients_back, lesson_matrix, matrix_powers, scalar_powers
from rnnstudy.plotting.style import COLORS
from rnnstudy.theory.figures import label, legend_above, single
from rnnstudy.theory.topic import Picture, Table, Topic

STEPS = 10
LAST_GRADIENT = (1.0, 1.0)
"""dJ_4/dh_4 of the worked row vector."""
_SHOWN = (0, 1, 2, 3, 5, 10)


def explain_powers() -> Topic:
    """Show powers of one factor and of the lesson's matrix, and a gradient carried back through it."""
    matrix = lesson_matrix()
    powers = matrix_powers(matrix, STEPS)
    radius = float(np.abs(np.linalg.eigvals(matrix)).max())
    norm = float(np.linalg.norm(matrix, 2))
    return Topic(
        title="Powers: the linear case",
        text=(
            "Without a nonlinearity, h_t = W h_(t-1) + W_x x_t, every Jacobian dh_t/dh_(t-1) is W itself. "
            "A gradient is a row vector, and n steps back it has been multiplied by W n times: "
            "dJ_t/dh_(t-n) = dJ_t/dh_t W^n.",
            f"With one unit W is a number. Ten steps of one half leave {scalar_powers(0.5, STEPS)[-1]:.7f}, "
            f"ten steps of two make {scalar_powers(2.0, STEPS)[-1]:.0f}.",
            f"The lesson's W has the rows {_row(matrix[0])} and {_row(matrix[1])}. Its largest |eigenvalue| is "
            f"{radius:.4f} and its largest singular value {norm:.4f}. The first is the factor per step in the long "
            "run; the second is the most that one step can do. Both are below 1, so every gradient through it "
            f"vanishes: after {STEPS} steps at most {np.linalg.norm(powers[-1], 2):.2g} of it is left.",
        ),
        tables=(_scalars(), _matrices(powers), _gradients(matrix, powers)),
        pictures=(
            Picture(
                name="linear_powers",
                alt="0.5 to the power n falls and 2 to the power n grows, straight lines on a logarithmic axis; the "
                "norm of the lesson's W to the power n falls too, more slowly than 0.5 to the power n.",
                draw=lambda: _figure(powers),
            ),
        ),
    )


def _scalars() -> Table:
    halves, doubles = scalar_powers(0.5, STEPS), scalar_powers(2.0, STEPS)
    return Table(
        title="Powers of one factor",
        header=("n", "0.5^n", "2^n"),
        rows=[(str(n), f"{halves[n]:.7g}", f"{doubles[n]:.0f}") for n in _SHOWN],
    )


def _matrices(powers: Float64[np.ndarray, "lag hidden hidden"]) -> Table:
    return Table(
        title="Powers of the lesson's W",
        header=("n", "row 1, col 1", "row 1, col 2", "row 2, col 1", "row 2, col 2", "norm"),
        rows=[
            (str(n), *(f"{entry:.6g}" for entry in powers[n].flat), f"{np.linalg.norm(powers[n], 2):.4g}")
            for n in _SHOWN
        ],
        caption="The entries of W^n, then its spectral norm: the most of a gradient that n steps back can leave.",
    )


def _gradients(matrix: Float64[np.ndarray, "hidden hidden"], powers: Float64[np.ndarray, "lag hidden hidden"]) -> Table:
    back = gradients_back(np.array(LAST_GRADIENT), matrix, 3)
    straight = np.array(LAST_GRADIENT) @ powers[3]
    difference = float(np.abs(straight - back[3]).max())
    return Table(
        title="A gradient at step 4 carried back to step 1",
        header=("gradient", "unit 1", "unit 2", "made by"),
        rows=[
            (f"dJ_4/dh_{4 - n}", *(f"{entry:.6g}" for entry in row), f"dJ_4/dh_{5 - n} W" if n else "given")
            for n, row in enumerate(back)
        ],
        caption=f"dJ_4/dh_4 times W^3 at one go gives {_row(straight)}; largest difference {difference:.0e}.",
    )


def _figure(powers: Float64[np.ndarray, "lag hidden hidden"]) -> Figure:
    figure, axes = single(4.4)
    curves = {
        r"$2^n$": scalar_powers(2.0, STEPS),
        r"$\|W^n\|$, the lesson's W": np.linalg.norm(powers, 2, axis=(1, 2)),
        r"$0.5^n$": scalar_powers(0.5, STEPS),
    }
    for (name, values), color, marker in zip(curves.items(), COLORS, "os^", strict=False):
        axes.plot(range(STEPS + 1), values, color=color, linewidth=2.2, marker=marker, markersize=5, label=name)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(axes)
    label(axes, x="steps back, n", y="factor on a gradient")
    return figure


def _row(values: Float64[np.ndarray, " hidden"]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"
