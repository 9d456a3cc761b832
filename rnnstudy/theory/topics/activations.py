"""Activations: the largest slope of each, and its tangent at a point."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rnnstudy.gradients.activation_curves import ACTIVATION_CURVES, ActivationCurve, numeric_bound
from rnnstudy.plotting.style import DPI, GREY
from rnnstudy.theory.figures import CURVE, DOTTED, SLOPE, draw_activation, draw_slope, label, panels
from rnnstudy.theory.measures.networks import Subject, families
from rnnstudy.theory.topic import Picture, Table, Topic

ALWAYS = ("sigmoid", "tanh")
"""Activations that are always drawn large, used by the subject or not."""
STEPS = 10
"""Steps back in the example of the text."""
_COLUMNS = 4


def explain_activations(subject: Subject, x: float) -> Topic:
    """Return every activation, the subject's marked, with its derivative, bound gamma = max |f'|, and tangent at x."""
    users = activations_of(subject)
    found = {name: numeric_bound(curve) for name, curve in ACTIVATION_CURVES.items()}
    worst = max(abs(found[name] / curve.bound - 1) for name, curve in ACTIVATION_CURVES.items())
    large = [*ALWAYS, *(name for name in users if name in ACTIVATION_CURVES and name not in ALWAYS)]
    slopes = ", ".join(f"{name} {float(ACTIVATION_CURVES[name].slope(x)):.3g}" for name in large)
    bounds = ", ".join(f"{name} {curve.bound:.3g}" for name, curve in ACTIVATION_CURVES.items())
    return Topic(
        title="Activations: how steep they can get",
        text=(
            *_basics(x),
            f"A search for the largest |f'| that does not know the closed form finds the same γ for all {len(found)} "
            f"activations, with a relative difference of {worst:.1g} at most.",
            *_usage(subject, users),
        ),
        tables=(_table(users, found, x),),
        pictures=(
            Picture(
                name="activations",
                alt=f"Each row: an activation with its tangent at x = {x:g}, and its slope with the bound gamma. "
                f"Slopes at that point: {slopes}.",
                draw=lambda: _large(large, x),
            ),
            Picture(
                name="activations_all",
                alt=f"All activations with their slopes and bounds gamma: {bounds}.",
                draw=lambda: _overview(users),
            ),
        ),
    )


def activations_of(subject: Subject) -> dict[str, list[str]]:
    """Return the layers that apply each activation, gates and modReLU (not a function of one number) included."""
    users: dict[str, list[str]] = {}
    for layer, *_ in families(subject.layers):
        path = layer.trajectory
        activated = path.cell.activated(path.inputs, path.before, path.weights)
        for name in dict.fromkeys(each.nonlinearity for each in activated.values()):
            users.setdefault(name, []).append(layer.family)
    return users


def _basics(point: float) -> tuple[str, ...]:
    sigmoid = ACTIVATION_CURVES["sigmoid"]
    slope = float(sigmoid.slope(point))
    return (
        "On its way back through h = f(a) a gradient is multiplied by the slope f'(a), unit by unit. The bound γ is "
        "the largest |f'| anywhere: whatever the input, the activation multiplies by no more than that.",
        f"The sigmoid is steepest at 0, with γ = 1/4: it alone leaves at most (1/4)^{STEPS} = "
        f"10^{STEPS * np.log10(sigmoid.bound):.1f} of a gradient after {STEPS} steps back, before the weights have "
        "their say. "
        f"At x = {point:g} its slope is {slope:.3g}, {_percent(slope / sigmoid.bound)} of γ. "
        "Tanh has γ = 1, at 0 only: away from 0 it shrinks a gradient too.",
    )


def _percent(share: float) -> str:
    # Below that, more digits of a percentage do not help a reader.
    return f"{100 * share:.3g} %" if share >= 1e-6 else "less than 0.0001 %"


def _usage(subject: Subject, users: dict[str, list[str]]) -> Iterator[str]:
    if users:
        # Names such as "rnn, tanh" have commas of their own.
        used = "; ".join(f"{name}: {' / '.join(layers)}" for name, layers in users.items())
        yield f"What is used here, as activation or as a gate: {used}."
    active = {name for layers in users.values() for name in layers}
    if linear := " / ".join(layer.family for layer, *_ in families(subject.layers) if layer.family not in active):
        yield f"No activation acts on the state of {linear}: it goes from step to step linearly."
    if "modrelu" in users:
        yield (
            "modReLU is not in the table: it has a learnt threshold for each unit. Where it puts out 0 its slope is 0, "
            "elsewhere 1, so γ = 1."
        )


def _table(users: dict[str, list[str]], found: dict[str, float], point: float) -> Table:
    def row(name: str, curve: ActivationCurve) -> tuple[str, ...]:
        closed, formula = f"{curve.bound:.6g}", curve.bound_formula.replace(" / ", "/").replace(" + ", "+")
        return (
            f"{name} *" if name in users else name,
            closed if formula == closed else f"{formula} = {closed}",
            f"{found[name]:.6g}",
            "x → ∞" if curve.steepest is None else f"{curve.steepest:.4g}",
            f"{float(curve.slope(point)):.3g}",
        )

    return Table(
        title=f"The bound γ of the slope, and the slope at {point:g}",
        header=("f", "γ", "γ found", "at x", "slope"),
        rows=[row(*item) for item in ACTIVATION_CURVES.items()],
        caption="* used here. At x: a point where the slope is γ; an arrow where it only comes close. The slope at a "
        "kink is the one that torch takes.",
    )


def _large(names: list[str], point: float) -> Figure:
    figure = Figure(figsize=(11, 2.9 * len(names)), dpi=DPI, layout="constrained")
    for (left, right), name in zip(figure.subplots(len(names), 2, squeeze=False), names, strict=True):
        draw_activation(left, ACTIVATION_CURVES[name], point)
        draw_slope(right, ACTIVATION_CURVES[name], point)
    return figure


def _overview(users: dict[str, list[str]]) -> Figure:
    curves = list(ACTIVATION_CURVES.values())
    # One more place, for the legend.
    figure, axes = panels(len(curves) + 1, _COLUMNS, height=2.3, shared=True)
    for each, curve in zip(axes, curves, strict=False):
        _small(each, curve, used=curve.name in users)
    for each in axes[len(curves) - _COLUMNS : len(curves)]:
        label(each, x="x", size=10)
        each.tick_params(labelbottom=True)
    axes[-1].set_axis_off()
    axes[-1].legend(*axes[0].get_legend_handles_labels(), loc="center", frameon=False, fontsize=11)
    return figure


def _small(axes: Axes, curve: ActivationCurve, *, used: bool) -> None:
    x = np.linspace(-5, 5, 801)
    axes.axhline(curve.bound, color=GREY, linewidth=1.6, linestyle=DOTTED, label="bound γ")
    axes.plot(x, curve.value(x), color=CURVE, linewidth=2.0, linestyle=(0, (5, 2)), label="f(x)")
    axes.plot(x, curve.slope(x), color=SLOPE, linewidth=2.4, label="slope f'(x)")
    axes.set(xlim=(-5, 5), ylim=(-1.25, 1.6))
    label(axes, title=f"{curve.name} (used here)" if used else curve.name)
