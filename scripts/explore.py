"""`marimo run scripts/explore.py`: a page to explore why gradients vanish and explode; needs the extra `explore`.

Every picture is computed here and now, on this machine: `rnnstudy.theory` has the computations and the drawing.
"""
# ruff: noqa: ANN001, ANN202  cells are written as marimo writes them

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="Why gradients vanish and explode")

with app.setup:
    import re
    from collections.abc import Iterable, Mapping

    import marimo as mo
    import torch
    from matplotlib.figure import Figure
    from numpy import log10, nan, where

    from rnnstudy.gradients.activation_curves import ACTIVATION_CURVES, find_curve, tangent
    from rnnstudy.lessons.notebook_curve import notebook_curve
    from rnnstudy.plotting.style import DPI, to_png
    from rnnstudy.plotting.typeset import typeset
    from rnnstudy.theory.figures import draw_activation, draw_contributions, draw_slope
    from rnnstudy.theory.measures.explorer import CHOICES, Finding, findings, measure

    torch.set_num_threads(1)  # more threads slow operations this small down


@app.function
def picture(figure: Figure, alt: str) -> mo.Html:
    """A figure as an image, at most as wide as the page."""
    return mo.image(
        to_png(figure), alt=alt, style={"width": "100%", "max-width": f"{1.35 * figure.get_figwidth():g}in"}
    )


@app.function
def shown(text: str) -> str:
    """Plain text as HTML: 10^-3, h_T and gamma as they are written by hand."""
    return re.sub(r"\bgamma\b", "&gamma;", typeset(text))


@app.function
def row(items: Iterable[str], width: str) -> mo.Html:
    """HTML side by side, below each other where the window is narrower than twice the width."""
    cells = "".join(f'<div style="flex: 1 1 {width}; min-width: 0">{item}</div>' for item in items)
    return mo.Html(f'<div style="display: flex; flex-wrap: wrap; gap: 0.8rem">{cells}</div>')


@app.function
def cards(entries: tuple[Finding, ...]) -> mo.Html:
    """What each condition says, side by side."""
    card = (
        '<section style="height: 100%; border: 1px solid #d8d8d8; border-radius: 8px; padding: 0.8rem 1rem">'
        '<div style="font-size: 0.85rem; color: #555">{subject}</div>'
        '<div style="font-size: 1.35rem; margin: 0.15rem 0">{figure}</div>'
        '<div style="font-weight: 600">{verdict}</div>'
        '<div style="font-size: 0.9rem; margin-top: 0.4rem">{meaning}</div></section>'
    )
    return row((card.format(**{key: shown(text) for key, text in vars(entry).items()}) for entry in entries), "16rem")


@app.function
def contribution_figure(measured: Mapping, theory: Mapping, first_step: int, ylabel: str) -> Figure:
    """One axes with what is left of every time step."""
    figure = Figure(figsize=(7.6, 3.9), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    draw_contributions(axes, measured, theory, first_step=first_step)
    axes.set_ylabel(ylabel, fontsize=11)
    return figure


@app.cell
def _():
    mo.md(r"""
    # Why gradients vanish and explode

    A recurrent network computes $h_t = f(W_{hh} h_{t-1} + W_{hx} x_t + b)$. What the state at step $k$ still does to
    the last one is the product of the Jacobians between them,

    $$\frac{\partial h_T}{\partial h_k} = \prod_{t=k+1}^{T} \operatorname{diag}\!\big(f'(a_t)\big)\, W_{hh},$$

    one factor for every step. So two things decide: how steep $f$ is, and how much $W_{hh}$ stretches.

    ## 1. How steep is the activation?
    """)
    return


@app.cell
def _():
    activation = mo.ui.dropdown(list(ACTIVATION_CURVES), value="sigmoid", label="activation f")
    point = mo.ui.slider(-8.0, 8.0, 0.1, value=2.0, label="point x", show_value=True)
    mo.hstack([activation, point], justify="start", gap=2, wrap=True)
    return activation, point


@app.cell
def _(activation, point):
    _curve = find_curve(activation.value)
    _touching = tangent(_curve, point.value)
    _panels = []
    for _draw, _what in ((draw_activation, "its tangent"), (draw_slope, "its derivative")):
        _figure = Figure(figsize=(4.6, 3.7), dpi=DPI, layout="constrained")
        _draw(_figure.add_subplot(), _curve, point.value)
        _panels.append(picture(_figure, f"{_curve.name} and {_what} at {point.value:g}"))
    _where = "only approached, as x grows" if _curve.steepest is None else f"reached at x = {_curve.steepest:.4g}"
    _said = Finding(
        subject=f"slope of {_curve.name} at x = {point.value:g}",
        figure=f"f'(x) = {_touching.slope:.4g}",
        verdict=f"{abs(_touching.slope) / _curve.bound:.3g} of the most that is possible",
        meaning=f"f(x) = {_curve.formula}; here f(x) = {_touching.value:.4g}.",
    )
    _most = Finding(
        subject=f"the most that {_curve.name} can have",
        figure=f"gamma = {_curve.bound:.5g}",
        verdict=_where,
        meaning=f"In closed form gamma = {_curve.bound_formula}. Ten steps multiply a gradient by at most "
        f"gamma^10 = {_curve.bound**10:.3g}, before W_hh has its say.",
    )
    mo.vstack([row((panel.text for panel in _panels), "20rem"), cards((_said, _most))])
    return


@app.cell
def _():
    mo.md(r"""
    ## 2. What is left of an early step?

    A network of 16 units with random weights reads standard normal inputs, and the true Jacobians are multiplied, step
    by step. The recurrent weights are scaled to the spectral radius you choose (in a GRU or LSTM, each gate's).

    Two conditions are taught, and they do not say the same. With $|f'| \le \gamma$ and the largest singular value
    $\sigma_{\max}$ of $W_{hh}$, always $\|\partial h_T/\partial h_k\| \le (\gamma\,\sigma_{\max})^{T-k}$: if
    $\gamma\,\sigma_{\max} < 1$, the gradient **must** vanish. The largest eigenvalue $|\lambda|_{\max}$ is never above
    $\sigma_{\max}$; it decides in the long run, and at a finite distance it proves nothing.
    """)
    return


@app.cell
def _():
    network = mo.ui.dropdown(list(CHOICES), value="RNN, tanh", label="network")
    radius = mo.ui.slider(0.1, 8.0, 0.1, value=0.9, label="spectral radius", show_value=True)
    seq_len = mo.ui.slider(5, 200, 5, value=50, label="time steps", show_value=True)
    seed = mo.ui.slider(0, 20, 1, value=0, label="seed", show_value=True)
    inputs = mo.ui.switch(label="inputs too: ∂h_T/∂x_k")
    mo.hstack([network, radius, seq_len, seed, inputs], justify="start", gap=1.5, wrap=True)
    return inputs, network, radius, seed, seq_len


@app.cell
def _(inputs, network, radius, seed, seq_len):
    _found = measure(network.value, radius=radius.value, seq_len=seq_len.value, seed=seed.value)
    _name = _found.state
    _lines = {rf"measured $\|\partial {_name}_T/\partial {_name}_k\|$": _found.log10_state}
    if inputs.value:
        _lines[rf"measured $\|\partial {_name}_T/\partial x_k\|$"] = _found.log10_input
    _bound = {}
    if _found.log10_bound is not None:
        _far = rf"$10^{{{_found.log10_bound[0]:.1f}}}$ at k = 0"
        _bound[rf"bound $(\gamma\,\sigma_{{\max}})^{{T-k}}$, {_far}"] = _found.log10_bound
    mo.vstack(
        [
            picture(
                contribution_figure(_lines, _bound, 0, "norm (log scale)"),
                f"Norm of the Jacobian product at every time step: {network.value}, spectral radius {radius.value:g}",
            ),
            cards(findings(_found)),
        ]
    )
    return


@app.cell
def _():
    mo.md(r"""
    Things to try:

    - tanh with radius 0.9: the eigenvalue condition holds, the singular value condition does not. Who is right?
    - tanh with radius 1.5: both conditions leave it open. Go through the seeds: some networks vanish, some explode.
    - relu with radius 1: it vanishes, as about half of the slopes are 0. With 2 and more it explodes.
    - sigmoid with radius 5, beyond $1/\gamma = 4$: nearly every seed vanishes, as most slopes are below $\gamma$.
    - GRU and LSTM: these are untrained, their gates stand near 1/2, and they vanish too. Gates help because they can be
      learnt: a forget gate of 1 lets a gradient through whole.
    - The skip connection: shorter paths, and more of them.

    The inputs follow the same reasoning: $\partial h_T/\partial x_k = (\partial h_T/\partial h_k)\,
    \operatorname{diag}(f'(a_k))\,W_{hx}$. One factor more, of $W_{hx}$; the product in front of it is the same, so it
    vanishes and explodes at the same pace.

    ## 3. A lecture notebook's network, and its curve

    Five units, 20 steps, sigmoid, all drawn from one fixed seed. The notebook it comes from multiplies *entry by
    entry*, where the chain rule multiplies matrices, and takes the largest entry with its sign: its curve is not the
    Jacobian product. Both are here. As in the notebook, the states are random numbers, not the outcome of earlier
    steps, and $k$ stands for the product of the Jacobians of all steps from $k$ to 20.
    """)
    return


@app.cell
def _():
    case = mo.ui.dropdown(
        {"below 4 = 1/gamma": "below", "above 4 = 1/gamma": "above"},
        value="below 4 = 1/gamma",
        label="eigenvalues of W_hh",
    )
    mo.hstack([case], justify="start")
    return (case,)


@app.cell
def _(case):
    _lesson = notebook_curve(case.value)
    _lines = {
        "true product, spectral norm": log10(_lesson.true_norm),
        "notebook's curve, no Jacobian product": log10(where(_lesson.published > 0, _lesson.published, nan)),
        r"true $\|\partial h_{20}/\partial x_k\|$": log10(_lesson.input_norm),
    }
    _theory = {
        r"bound $(\sigma_{\max}/4)^{21-k}$": log10(_lesson.bound),
        r"eigenvalue rule $(|\lambda|_{\max}/4)^{21-k}$": log10(_lesson.eigenvalue_rule),
    }
    _said = (
        Finding(
            subject="largest |eigenvalue|, times gamma = 1/4",
            figure=f"{abs(_lesson.eigenvalues).max():.3g} / 4 = {abs(_lesson.eigenvalues).max() / 4:.3g}",
            verdict="below 1" if abs(_lesson.eigenvalues).max() < 4 else "above 1",
            meaning="The notebook's condition. Its dotted line is no bound: the truth may lie above it.",
        ),
        Finding(
            subject="largest singular value, times gamma = 1/4",
            figure=f"{_lesson.spectral_norm:.3g} / 4 = {_lesson.spectral_norm / 4:.3g}",
            verdict="below 1: must vanish" if _lesson.spectral_norm < 4 else "above 1: proves nothing",
            meaning="Its dashed line is a bound: the truth lies below it at every step.",
        ),
        Finding(
            subject="at k = 1",
            figure=f"{_lesson.true_norm[0]:.3g}",
            verdict="the true product's norm",
            meaning=f"The notebook's curve has {_lesson.published[0]:.7g} there (its largest entry, with its sign).",
        ),
    )
    mo.vstack(
        [
            picture(
                contribution_figure(_lines, _theory, 1, "size (log scale)"),
                "Curve of the lecture notebook, and the truth",
            ),
            cards(_said),
        ]
    )
    return


@app.cell
def _():
    mo.md(r"""
    ## 4. What helps

    - **LSTM**: the cell state is carried by $c_t = f_t \odot c_{t-1} + i_t \odot g_t$. The factor on this path is the
      forget gate.
    - **GRU**: $h_t = (1 - z_t) \odot n_t + z_t \odot h_{t-1}$: the same, with the update gate.
    - **Skip connections**: a path from $h_{t-s}$ to $h_t$, so fewer factors between far steps.
    - **Clipping**: bounds the update when the product explodes. It cannot bring back what has vanished.

    `rnnstudy train` measures all of them on tasks, `rnnstudy compare` puts them side by side.
    """)
    return


if __name__ == "__main__":
    app.run()
