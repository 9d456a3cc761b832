"""The two conditions on the radius and the norm of a recurrent matrix, and what each of them proves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex128, Float, Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from rnnstudy.gradients.spectra import Conditions, non_normality, spectral_norm, spectral_radius
from rnnstudy.lessons.powers import matrix_powers
from rnnstudy.plotting.style import COLORS, GREY, MARKERS
from rnnstudy.recurrence.residual import ResidualRecurrence
from rnnstudy.theory.figures import DASHED, DOTTED, label, legend_above, panels, single
from rnnstudy.theory.measures.networks import Layer, Subject, families
from rnnstudy.theory.topic import Picture, Table, Topic

NON_NORMAL = ((0.9, 5.0), (0.0, 0.9))
"""A matrix of radius 0.9 whose powers grow at first."""
NILPOTENT = ((2.0, 2.0), (-2.0, -2.0))
"""A matrix of radius 0: its square is zero. With the second unit off (slopes 1 and 0) its powers grow without end."""
POWERS = 80
ONE = 1e-5
"""gamma times norm this close to 1 counts as 1: the error of an orthogonal matrix in float32."""
MOST_PANELS = 9
_DIAGONAL = {"recurrent": "diag(u)", "eigenvalues": "Λ"}
"""Symbols for the matrices of cells whose units do not act on each other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Operator:
    """A matrix that the recurrence multiplies states by.

    Attributes:
        name: Name, such as "W_hh", or "W_hh, f" for the block of a gate.
        eigenvalues: All eigenvalues.
        radius: Largest absolute eigenvalue.
        norm: Largest singular value.
        non_normality: Henrici's departure from normality over the Frobenius norm, 0 to 1.
        diagonal: Whether units do not act on each other.
    """

    name: str
    eigenvalues: Complex128[np.ndarray, " eigenvalue"]
    radius: float
    norm: float
    non_normality: float
    diagonal: bool = False

    def conditions(self, gamma: float) -> Conditions:
        """Return both conditions for this matrix, with slopes bounded by gamma."""
        return Conditions(gamma=gamma, radius=self.radius, norm=self.norm, non_normality=self.non_normality)


def operators(layer: Layer) -> tuple[Operator, ...]:
    """Return a layer's matrices, one per gate or diagonal; of leaky and residual cells also the Jacobian at slope 1."""
    cell, weights = layer.trajectory.cell, layer.trajectory.weights
    found = [_operator(name, matrix[0]) for name, matrix in cell.recurrent_matrices(weights).items()]
    if isinstance(cell, ResidualRecurrence):
        matrix = weights["weight_hh"][0]
        jacobian = cell.keep * torch.eye(len(matrix), dtype=matrix.dtype) + cell.rate * matrix
        found.append(_operator(f"{cell.keep:g} I + {cell.rate:g} W_hh", jacobian))
    return tuple(found)


def _operator(name: str, matrix: Float[Tensor, "hidden hidden"]) -> Operator:
    return Operator(
        name=_DIAGONAL.get(name, name.replace("weight_", "W_").replace("/", ", ")),
        eigenvalues=torch.linalg.eigvals(matrix).to(torch.complex128).numpy(),
        radius=float(spectral_radius(matrix)),
        norm=float(spectral_norm(matrix)),
        non_normality=float(non_normality(matrix)),
        diagonal=name in _DIAGONAL,
    )


def explain_conditions(subject: Subject) -> Topic:
    """Show radius, norm and non-normality of every recurrent matrix, both conditions, and what each proves."""
    found = {layer.name: operators(layer) for layer in subject.layers}
    bounded = {
        layer.name: found[layer.name][0].conditions(layer.gamma) for layer in subject.layers if layer.gamma is not None
    }
    norms = np.linalg.norm(matrix_powers(np.array(NON_NORMAL), POWERS), 2, axis=(1, 2))
    radius = _radius(NON_NORMAL)
    powers = Picture(
        name="non_normal_powers",
        alt=f"Norm of the powers of a matrix with spectral radius {radius:g}: it grows to {norms.max():.3g} at n = "
        f"{int(norms.argmax())} before it falls; rho^n falls from the start, sigma^n grows throughout.",
        draw=lambda: _powers_figure(norms, radius),
    )
    return Topic(
        title="Two conditions: singular values and eigenvalues",
        text=(
            "In h_t = f(W_hh h_{t-1} + ...) a small change of h_k reaches h_t through the product of the Jacobians "
            "∂h_i/∂h_{i-1} = diag(f'(a_i)) W_hh, i = k+1..t. Two numbers of W_hh are asked what that product does: the "
            "spectral norm σ, its largest singular value, and the spectral radius ρ, its largest |eigenvalue|; ρ is "
            "never above σ. The departure from normality tells how far they can be apart: 0 means ρ = σ, 1 that no "
            "eigenvalue but 0 is left.",
            "The singular value proves something. ‖∂h_t/∂h_k‖ ≤ (γσ)^(t-k) for all inputs and at every lag. So γσ < 1 "
            "is sufficient for vanishing, and γσ > 1 is necessary for exploding. It is not sufficient: where units "
            "saturate, slopes are far below γ.",
            "The eigenvalue is what lessons often ask instead: ρ < 1/γ, called sufficient for vanishing; ρ > 1/γ, "
            "called necessary for exploding. That speaks about the long run alone, and about one constant slope, the "
            "same for all units at all steps: then the product is a power of one matrix, and in the end each step "
            "multiplies by slope · ρ.",
            *_counterexamples(norms, radius),
            *_here(bounded),
            *_others(subject, found),
        ),
        tables=(_matrices(found), *([_verdicts(bounded)] if bounded else []), _powers_table(norms, radius)),
        pictures=(*_eigenvalue_pictures(subject, found), powers),
    )


def _counterexamples(norms: Float64[np.ndarray, " power"], radius: float) -> tuple[str, ...]:
    peak = int(norms.argmax())
    below = int((norms >= 1).nonzero()[0].max()) + 1
    nilpotent = np.array(NILPOTENT)
    # All eigenvalues are 0 exactly when the square of a 2 x 2 matrix is; LAPACK would give 1e-8.
    zero = float(np.abs(nilpotent @ nilpotent).max())
    growth = _radius(np.diag([1.0, 0.0]) @ nilpotent)
    return (
        f"Why that is no proof at a finite lag: W = {_shown(NON_NORMAL)} has ρ = {radius:g}, so with slope 1 the "
        f"condition of the lessons says vanishing. But ‖W^n‖ is {norms[1]:.3g} at n = 1, grows to {norms[peak]:.3g} at "
        f"n = {peak}, and is below 1 only from n = {below} on. A matrix that is not normal can lengthen a vector for "
        f"many steps first. The singular value gives no such promise: σ = {norms[1]:.3g}.",
        "And no proof in the long run, where slopes differ from unit to unit, neither of vanishing nor of what "
        f"exploding needs: W = {_shown(NILPOTENT)} has ρ = {zero:g}, its square is zero. With the second unit "
        f"switched off (relu, slopes 1 and 0) the Jacobian diag(1, 0) W has the radius {growth:g}: the product is "
        f"multiplied by {growth:g} at every step.",
    )


def _radius(rows: Sequence[Sequence[float]] | np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(np.array(rows))).max())


def _shown(rows: Sequence[Sequence[float]]) -> str:
    return "[" + ", ".join(f"[{', '.join(f'{entry:g}' for entry in row)}]" for row in rows) + "]"


def proof(found: Conditions) -> str:
    """Say in at most three words what gamma times norm proves; within 1e-5 of 1 it counts as 1."""
    growth = found.gamma * found.norm
    if abs(growth - 1) <= ONE:
        return "cannot explode"
    return "must vanish" if found.must_vanish else "nothing"


def rule(found: Conditions) -> str:
    """Say in at most three words what gamma times radius suggests; within 1e-5 of 1 it counts as 1."""
    growth = found.gamma * found.radius
    if abs(growth - 1) <= ONE:
        return "neither"
    return "vanishes" if found.eigenvalues_below else "may explode"


def _here(bounded: dict[str, Conditions]) -> list[str]:
    if not bounded:
        return ["No layer here is a vanilla one, h_t = f(W_hh h_{t-1} + ...) with a full W_hh, of which both speak."]
    proven = [name for name, each in bounded.items() if proof(each) == "must vanish"]
    said = [
        f"Here γσ < 1, so that every product must vanish, holds for: {' / '.join(proven)}."
        if proven
        else "Here γσ < 1 holds for none of the layers: no product is proven to vanish."
    ]
    ruled = [name for name, each in bounded.items() if rule(each) == "vanishes"]
    if apart := " / ".join(name for name in ruled if name not in proven):
        said.append(
            f"The two conditions part for: {apart}. The eigenvalues are below 1/γ, the singular value is "
            "not: the rule says vanishing, and that is not proven. What happens is measured in the next section."
        )
    elif ruled:
        said.append("The two conditions part for none of them: where the eigenvalue rule says vanishing, it is proven.")
    return said


def _others(subject: Subject, found: dict[str, tuple[Operator, ...]]) -> list[str]:
    every_radius = families(subject.layers)
    found = {layer.family: found[layer.name] for layer, *_ in every_radius}
    unbounded = {layer.family: found[layer.family] for layer, *_ in every_radius if layer.gamma is None}
    sayings = {
        "For {} the Jacobian has more in it than one matrix and slopes: gates, earlier states, or a part of the state "
        "that is kept. The numbers of each matrix are shown; neither condition applies as it is.": [
            name for name, every in unbounded.items() if len(every) > 1
        ],
        "For {} normalisation or another map stands beside W_hh in the Jacobian: W_hh alone bounds nothing.": [
            name for name, every in unbounded.items() if len(every) == 1 and not every[0].diagonal
        ],
        "In {} no unit acts on another one: the matrix is diagonal, hence normal, ρ = σ, and what its eigenvalues say "
        "is exact at every lag, the slopes apart.": [
            name for name, every in found.items() if any(each.diagonal for each in every)
        ],
        "In {} no matrix was found that multiplies states.": [name for name, every in found.items() if not every],
    }
    return [saying.format(" / ".join(names)) for saying, names in sayings.items() if names]


def _matrices(found: dict[str, tuple[Operator, ...]]) -> Table:
    return Table(
        title="Recurrent matrices",
        header=("network", "matrix", "ρ", "σ", "non-normality"),
        rows=[
            (name, each.name, f"{each.radius:.4g}", f"{each.norm:.4g}", f"{each.non_normality:.3f}")
            for name, every in found.items()
            for each in every
        ],
        caption="ρ: largest |eigenvalue|. σ: largest singular value. Non-normality: 0 normal, 1 no eigenvalue but 0.",
    )


def _verdicts(bounded: dict[str, Conditions]) -> Table:
    def row(name: str, each: Conditions) -> tuple[str, ...]:
        proves, suggests = f"{each.gamma * each.norm:.4g}", f"{each.gamma * each.radius:.4g}"
        return name, f"{each.gamma:g}", proves, proof(each), suggests, rule(each)

    return Table(
        title="Both conditions",
        header=("network", "γ", "γσ", "γσ proves", "γρ", "γρ suggests"),
        rows=[row(*item) for item in bounded.items()],
        caption="γσ: at every lag, for all inputs; above 1 it proves nothing. γρ: in the long run, for a constant "
        "slope γ.",
    )


def _powers_table(norms: Float64[np.ndarray, " power"], radius: float) -> Table:
    return Table(
        title=f"Powers of W = {_shown(NON_NORMAL)}",
        header=("n", "‖W^n‖", "ρ^n", "σ^n"),
        rows=[
            (str(n), f"{norms[n]:.4g}", f"{radius**n:.4g}", f"{norms[1] ** n:.4g}") for n in (1, 2, 5, 10, 20, 40, 80)
        ],
        caption="Never above σ^n; above ρ^n at every n.",
    )


def _powers_figure(norms: Float64[np.ndarray, " power"], radius: float) -> Figure:
    n = np.arange(POWERS + 1)
    figure, axes = single(3.9)
    axes.axhline(1, color="#999999", linewidth=1)
    axes.plot(n, norms, color=COLORS[0], linewidth=2.4, label="‖W^n‖, slope 1")
    axes.plot(n, radius**n, color=COLORS[1], linewidth=2, linestyle=DASHED, label="ρ^n, the eigenvalue rule")
    axes.plot(n, norms[1] ** n, color=GREY, linewidth=2, linestyle=DOTTED, label="σ^n, the bound")
    axes.set_yscale("log")
    axes.set_ylim(radius**POWERS / 2, 20 * norms.max())
    legend_above(axes)
    label(axes, x="lag n = t - k (time steps)", y="factor on a change's length")
    return figure


def _eigenvalue_pictures(subject: Subject, found: dict[str, tuple[Operator, ...]]) -> list[Picture]:
    shown = [family for family in families(subject.layers) if found[family[0].name]][:MOST_PANELS]
    if not shown:
        return []
    layers = [layer for family in shown for layer in family]
    if len(layers) > len(shown):
        largest = "All matrices of a network share the marker of their radius"
    else:
        sizes = [f"{layer.name}: {max(each.radius for each in found[layer.name]):.3g}" for layer in layers]
        largest = f"Largest absolute eigenvalue of {'; '.join(sizes)}"
    left_out = len(subject.layers) - len(layers)
    more = f" {left_out} more are not drawn." if left_out else ""
    return [
        Picture(
            name="eigenvalues",
            alt="Eigenvalues of the recurrent matrices in the complex plane, with the unit circle, and the circle of "
            f"radius 1/gamma where there is a gamma. {largest}.{more}",
            draw=lambda: _eigenvalue_figure([(family, [found[layer.name] for layer in family]) for family in shown]),
        )
    ]


def _eigenvalue_figure(shown: Sequence[tuple[Sequence[Layer], Sequence[Sequence[Operator]]]]) -> Figure:
    height = 4.1 * 3 / max(min(3, len(shown)), 2.4)
    # Several radii take a second line in every legend.
    more = 1.2 if any(len(family) > 1 for family, _ in shown) else 0.0
    figure, axes = panels(len(shown), 3, height=height, more=more, alone=4.6)
    for each, (family, every) in zip(axes, shown, strict=True):
        series = {matrix.name: matrix.eigenvalues for matrix in every[0]}
        if len(family) > 1:
            values = [np.concatenate([matrix.eigenvalues for matrix in matrices]) for matrices in every]
            series = dict(zip([layer.radius_name for layer in family], values, strict=True))
        _plane(each, family[0], series)
    return figure


def _plane(axes: Axes, layer: Layer, series: dict[str, Complex128[np.ndarray, " eigenvalue"]]) -> None:
    angle = np.linspace(0, 2 * np.pi, 361)
    limit = 1.0 if layer.gamma is None else max(1.0, 1 / layer.gamma)
    axes.plot(np.cos(angle), np.sin(angle), color=GREY, linewidth=1.2, label="|λ| = 1")
    if layer.gamma is not None:
        size = 1 / layer.gamma
        x, y = size * np.cos(angle), size * np.sin(angle)
        axes.plot(x, y, color=COLORS[1], linewidth=1.8, linestyle=DASHED, label=f"1/γ = {size:g}")
    for (name, values), color, marker in zip(series.items(), COLORS, MARKERS, strict=False):
        x, y = np.real(values), np.imag(values)
        axes.plot(x, y, linestyle="none", marker=marker, markersize=5, color=color, alpha=0.85, label=name)
        limit = max(limit, float(np.abs(values).max()))
    edges = (-1.12 * limit, 1.12 * limit)
    axes.set(xlim=edges, ylim=edges, aspect="equal")
    count = min(3, len(axes.get_legend_handles_labels()[1]))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=count, frameon=False, fontsize=9, borderaxespad=0)
    label(axes, title=layer.family, x="real part of λ", y="imaginary part of λ", size=10)
