"""The section on the two conditions: what radius and norm of a recurrent matrix say, and which of them proves what."""

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
from rnnstudy.plotting.style import COLORS, DPI, INK, plain, tidy
from rnnstudy.recurrence.residual import ResidualRecurrence
from rnnstudy.theory.drawing import GREY
from rnnstudy.theory.measures.subject import Part, Subject
from rnnstudy.theory.section import Picture, Section, Table, picture

NON_NORMAL = ((0.9, 5.0), (0.0, 0.9))
"""Radius 0.9, and yet its powers grow first."""
NILPOTENT = ((2.0, 2.0), (-2.0, -2.0))
"""Radius 0: its square is zero. With the second unit off, slopes 1 and 0, its powers grow without end."""
POWERS = 80
ONE = 1e-5
"""gamma times norm this close to 1 counts as 1: what float32 leaves of an orthogonal matrix."""
MOST_PANELS = 9
_MARKERS = ("o", "s", "^", "D", "v", "P")
_DIAGONAL = {"recurrent": "diag(u)", "eigenvalues": "Λ"}
"""Matrices of cells of which no unit acts on another one, as they are written."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Operator:
    """A matrix that the recurrence multiplies states by.

    Attributes:
        name: Such as "W_hh", or "W_hh, f" for the block of a gate.
        eigenvalues: All of them.
        radius: Largest absolute eigenvalue.
        norm: Largest singular value.
        non_normality: Henrici's departure from normality over the Frobenius norm, 0 to 1.
        diagonal: Whether no unit acts on another one.
    """

    name: str
    eigenvalues: Complex128[np.ndarray, " eigenvalue"]
    radius: float
    norm: float
    non_normality: float
    diagonal: bool = False


def operators(part: Part) -> tuple[Operator, ...]:
    """Find the recurrent matrices of a part: the blocks of gates apart; of diagonal cells the diagonal.

    Returns:
        The matrices; of a leaky or residual cell also the Jacobian where every slope is 1.
    """
    cell, weights = part.trajectory.cell, part.trajectory.weights
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


def section(subject: Subject, *, draw: bool = True) -> Section:
    """Show radius, norm and non-normality of every recurrent matrix, both conditions, and what each of them proves.

    Args:
        subject: What is looked at.
        draw: Whether to draw the figures, which take most of the time.

    Returns:
        The section.
    """
    found = {part.name: operators(part) for part in subject.parts}
    bounded = _conditions(subject, found)
    tables = [_matrices(found), *([_verdicts(bounded)] if bounded else []), _powers_table()]
    return Section(
        title="Two conditions: singular values and eigenvalues",
        text=(*_theory(), *_counterexamples(), *_here(bounded), *_others(subject, found)),
        tables=tuple(tables),
        pictures=(*_eigenvalue_figure(subject, found), _powers_figure()) if draw else (),
    )


def _conditions(subject: Subject, found: dict[str, tuple[Operator, ...]]) -> dict[str, Conditions]:
    """Put W_hh of every part that has a bound beside it.

    Returns:
        Name of the part to its figures.
    """
    bounded = {}
    for part in subject.parts:
        if part.gamma is not None:
            only = found[part.name][0]
            bounded[part.name] = Conditions(
                gamma=part.gamma, radius=only.radius, norm=only.norm, non_normality=only.non_normality
            )
    return bounded


def _theory() -> tuple[str, ...]:
    return (
        "In h_t = f(W_hh h_{t-1} + ...) a small change of h_k reaches h_t through the product of the Jacobians "
        "∂h_i/∂h_{i-1} = diag(f'(a_i)) W_hh, i = k+1..t. Two numbers of W_hh are asked what that product does: the "
        "spectral norm σ, its largest singular value, and the spectral radius ρ, its largest |eigenvalue|; ρ is never "
        "above σ. The departure from normality tells how far they can be apart: 0 means ρ = σ, 1 that no eigenvalue "
        "but 0 is left.",
        "The singular value proves something. ‖∂h_t/∂h_k‖ ≤ (γσ)^(t-k) for all inputs and at every lag. So γσ < 1 is "
        "sufficient for vanishing, and γσ > 1 is necessary for exploding. It is not sufficient: where units saturate, "
        "slopes are far below γ.",
        "The eigenvalue is what lessons often ask instead: ρ < 1/γ, called sufficient for vanishing; ρ > 1/γ, called "
        "necessary for exploding. That speaks about the long run alone, and about one constant slope, the same for all "
        "units at all steps: then the product is a power of one matrix, and in the end each step multiplies "
        "by slope · ρ.",
    )


def _counterexamples() -> tuple[str, ...]:
    norms, radius = _norms(NON_NORMAL, POWERS), float(np.abs(np.linalg.eigvals(np.array(NON_NORMAL))).max())
    peak = int(norms.argmax())
    below = int((norms >= 1).nonzero()[0].max()) + 1
    nilpotent = np.array(NILPOTENT)
    # All eigenvalues are 0 exactly when the square of a 2 x 2 matrix is; LAPACK would give 1e-8.
    zero = float(np.abs(nilpotent @ nilpotent).max())
    masked = np.diag([1.0, 0.0]) @ nilpotent
    growth = float(np.abs(np.linalg.eigvals(masked)).max())
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


def _norms(rows: Sequence[Sequence[float]], count: int) -> Float64[np.ndarray, " power"]:
    return np.linalg.norm(matrix_powers(np.array(rows), count), 2, axis=(1, 2))


def _shown(rows: Sequence[Sequence[float]]) -> str:
    return "[" + ", ".join(f"[{', '.join(f'{entry:g}' for entry in row)}]" for row in rows) + "]"


def proof(found: Conditions) -> str:
    """What gamma times norm proves, in two or three words; within 1e-5 of 1 it counts as 1."""
    growth = found.gamma * found.norm
    if abs(growth - 1) <= ONE:
        return "cannot explode"
    return "must vanish" if found.must_vanish else "nothing"


def rule(found: Conditions) -> str:
    """What gamma times radius suggests, in two or three words."""
    growth = found.gamma * found.radius
    if abs(growth - 1) <= ONE:
        return "neither"
    return "vanishes" if found.eigenvalues_below else "may explode"


def _here(bounded: dict[str, Conditions]) -> list[str]:
    if not bounded:
        return ["No layer here is a vanilla one, h_t = f(W_hh h_{t-1} + ...) with a full W_hh, of which both speak."]
    proven = [name for name, each in bounded.items() if proof(each) == "must vanish"]
    said = []
    if proven:
        said.append(f"Here γσ < 1, so that every product must vanish, holds for: {' / '.join(proven)}.")
    else:
        said.append("Here γσ < 1 holds for none of the layers: no product is proven to vanish.")
    ruled = [name for name, each in bounded.items() if rule(each) == "vanishes"]
    apart = [name for name in ruled if name not in proven]
    if apart:
        said.append(
            f"The two conditions part for: {' / '.join(apart)}. The eigenvalues are below 1/γ, the singular value is "
            "not: the rule says vanishing, and that is not proven. What happens is measured in the next section."
        )
    elif ruled:
        said.append("The two conditions part for none of them: where the eigenvalue rule says vanishing, it is proven.")
    return said


def _others(subject: Subject, found: dict[str, tuple[Operator, ...]]) -> list[str]:
    said = []
    several = [part.name for part in subject.parts if part.gamma is None and len(found[part.name]) > 1]
    if several:
        said.append(
            f"For {' / '.join(several)} the Jacobian has more in it than one matrix and slopes: gates, earlier states, "
            "or a part of the state that is kept. The numbers of each matrix are shown; neither condition applies as "
            "it is."
        )
    alone = [
        part.name
        for part in subject.parts
        if part.gamma is None and len(found[part.name]) == 1 and not found[part.name][0].diagonal
    ]
    if alone:
        said.append(
            f"For {' / '.join(alone)} normalisation or another map stands beside W_hh in the Jacobian: W_hh alone "
            "bounds nothing."
        )
    diagonal = [name for name, every in found.items() if any(each.diagonal for each in every)]
    if diagonal:
        said.append(
            f"In {' / '.join(diagonal)} no unit acts on another one: the matrix is diagonal, hence normal, ρ = σ, and "
            "what its eigenvalues say is exact at every lag, the slopes apart."
        )
    none = [name for name, every in found.items() if not every]
    if none:
        said.append(f"In {' / '.join(none)} no matrix was found that multiplies states.")
    return said


def _matrices(found: dict[str, tuple[Operator, ...]]) -> Table:
    rows = [
        (part, each.name, f"{each.radius:.4g}", f"{each.norm:.4g}", f"{each.non_normality:.3f}")
        for part, every in found.items()
        for each in every
    ]
    return Table(
        title="Recurrent matrices",
        header=("network", "matrix", "ρ", "σ", "non-normality"),
        rows=tuple(rows),
        caption="ρ: largest |eigenvalue|. σ: largest singular value. Non-normality: 0 normal, 1 no eigenvalue but 0.",
    )


def _verdicts(bounded: dict[str, Conditions]) -> Table:
    rows = [
        (
            name,
            f"{each.gamma:g}",
            f"{each.gamma * each.norm:.4g}",
            proof(each),
            f"{each.gamma * each.radius:.4g}",
            rule(each),
        )
        for name, each in bounded.items()
    ]
    return Table(
        title="Both conditions",
        header=("network", "γ", "γσ", "γσ proves", "γρ", "γρ suggests"),
        rows=tuple(rows),
        caption="γσ: at every lag, for all inputs; above 1 it proves nothing. γρ: in the long run, for a constant "
        "slope γ.",
    )


def _powers_table() -> Table:
    norms = _norms(NON_NORMAL, POWERS)
    radius = float(np.abs(np.linalg.eigvals(np.array(NON_NORMAL))).max())
    rows = [(str(n), f"{norms[n]:.4g}", f"{radius**n:.4g}", f"{norms[1] ** n:.4g}") for n in (1, 2, 5, 10, 20, 40, 80)]
    return Table(
        title=f"Powers of W = {_shown(NON_NORMAL)}",
        header=("n", "‖W^n‖", "ρ^n", "σ^n"),
        rows=tuple(rows),
        caption="Never above σ^n; above ρ^n at every n.",
    )


def _powers_figure() -> Picture:
    norms, n = _norms(NON_NORMAL, POWERS), np.arange(POWERS + 1)
    radius = float(np.abs(np.linalg.eigvals(np.array(NON_NORMAL))).max())
    figure = Figure(figsize=(7.6, 3.9), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(1, color="#999999", linewidth=1)
    axes.plot(n, norms, color=COLORS[0], linewidth=2.4, label="‖W^n‖, slope 1")
    axes.plot(n, radius**n, color=COLORS[1], linewidth=2, linestyle=(0, (5, 3)), label="ρ^n, the eigenvalue rule")
    axes.plot(n, norms[1] ** n, color=GREY, linewidth=2, linestyle=(0, (1.2, 1.6)), label="σ^n, the bound")
    axes.set_yscale("log")
    axes.set_ylim(radius**POWERS / 2, 20 * norms.max())
    axes.set_xlabel("lag n = t - k (time steps)", color=INK, fontsize=11)
    axes.set_ylabel("factor on a change's length", color=INK, fontsize=11)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, frameon=False, fontsize=10, borderaxespad=0.3)
    tidy(axes)
    return picture(
        figure,
        "non_normal_powers",
        f"Norm of the powers of a matrix with spectral radius {radius:g}: it grows to {norms.max():.3g} at n = "
        f"{int(norms.argmax())} before it falls; rho^n falls from the start, sigma^n grows throughout.",
    )


def _eigenvalue_figure(subject: Subject, found: dict[str, tuple[Operator, ...]]) -> tuple[Picture, ...]:
    parts = [part for part in subject.parts if found[part.name]][:MOST_PANELS]
    if not parts:
        return ()
    columns = min(3, len(parts))
    rows = -(-len(parts) // columns)
    size = (7.6, 4.6) if len(parts) == 1 else (11, 4.1 * rows * 3 / max(columns, 2.4))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for each, part in zip(axes, parts, strict=False):
        _plane(each, part, found[part.name])
    for spare in axes[len(parts) :]:
        spare.set_axis_off()
    told = "; ".join(f"{part.name}: {max(each.radius for each in found[part.name]):.3g}" for part in parts)
    left_out = len(subject.parts) - len(parts)
    more = f" {left_out} more are not drawn." if left_out else ""
    return (
        picture(
            figure,
            "eigenvalues",
            "Eigenvalues of the recurrent matrices in the complex plane, with the unit circle, and the circle of "
            f"radius 1/gamma where there is a gamma. Largest absolute eigenvalue of {told}.{more}",
        ),
    )


def _plane(axes: Axes, part: Part, every: Sequence[Operator]) -> None:
    angle = np.linspace(0, 2 * np.pi, 361)
    limit = 1.0 if part.gamma is None else max(1.0, 1 / part.gamma)
    axes.plot(np.cos(angle), np.sin(angle), color=GREY, linewidth=1.2, label="|λ| = 1")
    if part.gamma is not None:
        size, label = 1 / part.gamma, f"1/γ = {1 / part.gamma:g}"
        axes.plot(
            size * np.cos(angle),
            size * np.sin(angle),
            color=COLORS[1],
            linewidth=1.8,
            linestyle=(0, (5, 3)),
            label=label,
        )
    for each, color, marker in zip(every, COLORS, _MARKERS, strict=False):
        x, y = np.real(each.eigenvalues), np.imag(each.eigenvalues)
        axes.plot(x, y, linestyle="none", marker=marker, markersize=5, color=color, alpha=0.85, label=each.name)
        limit = max(limit, each.radius)
    axes.set_xlim(-1.12 * limit, 1.12 * limit)
    axes.set_ylim(-1.12 * limit, 1.12 * limit)
    axes.set_aspect("equal")
    axes.set_title(plain(part.name), fontsize=11, loc="left", color=INK)
    axes.set_xlabel("real part of λ", color=INK, fontsize=10)
    axes.set_ylabel("imaginary part of λ", color=INK, fontsize=10)
    count = len(axes.get_legend_handles_labels()[1])
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=min(3, count), frameon=False, fontsize=9, borderaxespad=0
    )
    tidy(axes)
