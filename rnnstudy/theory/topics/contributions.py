"""Remainders of early steps: products of true Jacobians beside their bounds and a gradient."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rnnstudy.lessons.notebook_curve import NUM_STEPS, NotebookCurve, notebook_curve
from rnnstudy.theory.measures.contributions import (
    MOST_NUMBERS,
    Contribution,
    LossGradient,
    at_start,
    closest_to_bound,
    closest_to_input_bound,
    closest_to_steps,
    excess,
    gradients_of,
    measure,
    measure_all,
    middle,
    power,
)
from rnnstudy.theory.measures.networks import Subject
from rnnstudy.theory.topic import Picture, Table, Topic
from rnnstudy.theory.topics.contribution_figures import (
    gradient_picture,
    inputs_picture,
    notebook_picture,
    states_picture,
)

ROUNDING = 1e-9
"""Powers of ten by which rounding can lift a norm above its bound."""


def explain_contributions(subject: Subject) -> Topic:
    """Show every time step's remainder at the last one, its bounds, the loss's gradient, and a notebook's curve."""
    every = measure_all(subject.layers)
    gradients = [each for example in subject.losses for each in gradients_of(example, every)]
    curves = {"eigenvalues below 4": notebook_curve("below"), "eigenvalues from 4 on": notebook_curve("above")}
    tables, pictures = list[Table](), list[Picture]()
    if every:
        tables += [_states_table(every), _bounds_table(every), _inputs_table(every)]
        pictures += [states_picture(every), inputs_picture(every)]
    if gradients:
        tables.append(
            Table(
                title="Against the measured gradient",
                header=("network", "‖dL/dh_0‖ / ‖dL/dh_T‖", "‖∂h_T/∂h_0‖"),
                rows=[(each.name, at_start(each.gradient), at_start(each.norm)) for each in gradients],
                caption="dL/dh is the total derivative, through all later steps.",
            )
        )
        pictures.append(gradient_picture(gradients))
    return Topic(
        title="What is left of step k",
        text=(*_words(every), *_too_large(subject), *_gradient_words(subject, gradients), *_notebook_words(curves)),
        tables=(*tables, _notebook_table(curves)),
        pictures=(*pictures, notebook_picture(curves)),
    )


def verdict(ratios: Mapping[str, Sequence[float | None]]) -> str:
    """Say whether a bound is crossed; `ratios` is, by bound, log10 of each network's largest norm over it, or None."""
    known = {name: [ratio for ratio in each if ratio is not None] for name, each in ratios.items()}
    worst = {name: max(each) for name, each in known.items() if each}
    if not worst:
        return "With one time step there is nothing to bound."
    if any(np.isnan(ratio) for each in known.values() for ratio in each):
        return "Whether a bound is crossed cannot be told: a norm is not finite."
    told = ", ".join(f"{power(ratio)} times {name}" for name, ratio in worst.items())
    if max(worst.values()) > ROUNDING:
        return f"A bound is crossed: a norm is up to {told}."
    return f"Never crossed: over all steps, sequences and networks a norm is at most {told}."


def _words(every: Sequence[Contribution]) -> list[str]:
    if not every:
        return []
    lags, sequences = len(every[0].norm) - 1, every[0].norm.shape[1]
    said = [
        "∂h_T/∂h_k is the product of the Jacobians of all steps after k. Three figures of it: its spectral norm, "
        "the most that a small change at step k becomes at T, per unit of it; its largest entry, one unit on one "
        "unit; and the root mean square gain over all directions. For an LSTM also ∂c_T/∂c_k."
        + (
            f" Figures are medians of {sequences} sequences (of an even number, the lower one in the middle); "
            "bands show their range."
            if sequences > 1
            else ""
        ),
        f"Two bounds, over up to {lags} steps back: (γσ)^(T-k), which needs W_hh and γ alone, and the product of the "
        "norms of the Jacobians themselves, which needs the path and holds for every cell; after one step it can be "
        "the norm itself. "
        + verdict(
            {
                "(γσ)^(T-k)": [closest_to_bound(each) for each in every],
                "the product of norms": [closest_to_steps(each) for each in every],
            }
        ),
    ]
    if any(each.input_bound is not None for each in every):
        said.append(
            "Inputs fare as states do: ∂h_T/∂x_k = ∂h_T/∂h_k diag(f'(a_k)) W_hx, at most (γσ)^(T-k) γ ‖W_hx‖. In the "
            "bound W_hx enters once, W_hh as often as there are steps: so it is W_hh, with the slopes, that decides "
            "between vanishing and exploding. "
            + verdict({"that bound": [closest_to_input_bound(each) for each in every]})
        )
    return said


def _too_large(subject: Subject) -> list[str]:
    skipped = " / ".join(layer.name for layer in subject.layers if not measure(layer))
    return [f"Left out: {skipped}, whose state has more than {MOST_NUMBERS} numbers."] if skipped else []


def _gradient_words(subject: Subject, gradients: Sequence[LossGradient]) -> Iterator[str]:
    if not gradients:
        return
    named, first = " / ".join(dict.fromkeys(example.family for example in subject.losses)), subject.losses[0]
    yield (
        f"Against the measured gradient: of {named} on {type(first.task).__name__}, ‖dL/dh_k‖ over its "
        "value at the last step that has any, beside ‖∂h_T/∂h_k‖ along the same sequences."
        + (" Both with the task's inputs, unlike the figures before." if subject.drive == "nothing" else "")
    )
    asked = [each for each in gradients if each.at_end]
    loss_steps = len(first.batch.loss_steps)
    if asked and len(asked[0].norm) > 1:
        # At the last step both are 1.
        ratio = max(float(excess(each.gradient, each.norm)[:-1].max()) for each in asked)
        yield (
            "The loss is asked at the last step alone, so dL/dh_k = dL/dh_T ∂h_T/∂h_k: one direction of all that the "
            "norm covers. "
            + (
                "In float64 it is exactly zero before the last step, as is the norm or this direction of it."
                if ratio == -np.inf
                else f"The gradient is at most {power(ratio)} of the norm."
            )
        )
    elif loss_steps > 1:
        yield (
            f"The loss is asked at {loss_steps} steps: every h_k gets a share from the losses close to it, so the "
            "whole gradient need not vanish. What the last loss alone sends back from the highest layer's h_T to "
            "its h_k is multiplied by no more than the norm of the product."
        )


def _states_table(every: Sequence[Contribution]) -> Table:
    several = every[0].norm.shape[1] > 1

    def row(each: Contribution) -> tuple[str, ...]:
        norm, largest, gain = map(at_start, each.figures.values())
        spread = (power(float(each.norm[0].min())), power(float(each.norm[0].max()))) if several else ()
        return each.name, norm, *spread, largest, gain

    return Table(
        title=f"Left of step 0 after {len(every[0].norm) - 1} steps",
        header=("network", "norm", *(("least", "most") if several else ()), "largest", "gain"),
        rows=[row(each) for each in every],
        caption="Norm: spectral; largest: absolute entry; gain: root mean square over directions."
        + (" Medians; least and most: of the norm, over sequences." if several else ""),
    )


def _bounds_table(every: Sequence[Contribution]) -> Table:
    def row(each: Contribution) -> tuple[str, ...]:
        bound = None if each.bound is None else float(each.bound[0])
        return each.name, at_start(each.norm), power(bound), power(closest_to_bound(each)), at_start(each.steps)

    return Table(
        title="The norm and its bounds",
        header=("network", "norm", "(γσ)^lag", "closest", "Π‖J_i‖"),
        rows=[row(each) for each in every],
        caption="For step 0. Closest: the largest norm over (γσ)^lag at any step; above 10^0 would be a crossing.",
    )


def _inputs_table(every: Sequence[Contribution]) -> Table:
    def row(each: Contribution) -> tuple[str, ...]:
        bound = None if each.input_bound is None else float(each.input_bound[0])
        first, last = (power(float(value)) for value in middle(each.of_input)[[0, -1]])
        return each.name, first, power(bound), last, power(closest_to_input_bound(each))

    return Table(
        title="The same for inputs",
        header=("network", "of x_0", "bound", "of x_T", "closest"),
        rows=[row(each) for each in every],
        caption="Spectral norms of ∂h_T/∂x_k, k the first and the last step.",
    )


def _notebook_words(curves: Mapping[str, NotebookCurve]) -> list[str]:
    below = curves["eigenvalues below 4"]
    crossed = {case: int((curve.true_norm > curve.eigenvalue_rule).sum()) for case, curve in curves.items()}
    held = all((curve.true_norm <= curve.bound * (1 + ROUNDING)).all() for curve in curves.values())
    return [
        f"A lecture notebook's curve: 5 units, sigmoid, {NUM_STEPS} steps, NumPy seed 12345. Step k stands for the "
        f"product of steps k..{NUM_STEPS}. What it plots is not the Jacobian product. Adding the column b makes a "
        "matrix, of which diag takes the diagonal out, so each factor becomes a vector, the column sums of the "
        "Jacobian; the product of these is taken entry by entry, where the chain rule sums over all paths from unit "
        "to unit; and the largest entry is taken with its sign.",
        f"With eigenvalues below 4 it shows {below.published[0]:.6e} at k = 1, where the true norm is "
        f"{below.true_norm[0]:.6e}, {below.true_norm[0] / below.published[0]:.3g} times as much. "
        + ("The bound (σ/4)^(21-k) holds throughout" if held else "The bound (σ/4)^(21-k) is crossed")
        + "; the eigenvalue rule (ρ/4)^(21-k) is crossed by the true norm at "
        + " and ".join(f"{count} of {NUM_STEPS} steps ({case})" for case, count in crossed.items())
        + ".",
    ]


def _notebook_table(curves: Mapping[str, NotebookCurve]) -> Table:
    return Table(
        title="The notebook's curve and the truth",
        header=("eigenvalues", "curve", "k = 1", f"k = {NUM_STEPS}"),
        rows=[
            (case.removeprefix("eigenvalues "), name, f"{values[0]:.6e}", f"{values[-1]:.6e}")
            for case, curve in curves.items()
            for name, values in (
                ("published", curve.published),
                ("true norm", curve.true_norm),
                ("true largest", curve.true_largest),
                ("bound", curve.bound),
            )
        ],
        caption="Published: products of column sums, not a Jacobian product. True largest: entry in size.",
    )
