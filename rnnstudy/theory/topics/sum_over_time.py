"""dE/dW as a sum over time: its terms, the share of every lag, and a check that they add up."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
from jaxtyping import Float64
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rnnstudy.plotting.style import AXIS, COLORS, INK, plain
from rnnstudy.theory.figures import finite, label, legend_above, panels, power_of_ten, single
from rnnstudy.theory.measures.networks import Example, Subject, families
from rnnstudy.theory.measures.terms import SMALL_UNITS, Split, small_examples, split, worst
from rnnstudy.theory.topic import Picture, Table, Topic
from rnnstudy.theory.topics.worked_tables import worked_tables, worked_text

DECADES = 20
"""Most powers of ten that one colour scale spans."""
MOST_LINES = 12
_NOTHING = "#c8c8c8"
_LAGS = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


def explain_sum_over_time(subject: Subject) -> Topic:
    """Split the gradients of the subject's examples, check the sum for every model, and work one by hand."""
    splits = [each for example in subject.examples for each in split(example)]
    checks = _checks()
    largest = worst(each.error for each in (*splits, *checks))
    return Topic(
        title="The gradient of the weights is a sum over time",
        text=(
            "W is used at every time step. Give every step t its own copy W(t): then dE/dW is the sum, over every "
            "step s that has a loss and every step t up to s, of dE_s/dW(t). The lag s - t says how far back a term "
            "reaches. Where gradients vanish, terms of a long lag are there, but add next to nothing.",
            *(_described(example) for example, *_ in families(subject.examples)),
            *_lag_findings(splits),
            f"The sum of all terms is compared with the gradient of one backward pass, in float64, weight by weight: "
            f"for the networks looked at and for every model ({SMALL_UNITS} units, one layer, a copy task). Largest "
            f"relative error: {_error(largest)}.",
            *worked_text(),
        ),
        tables=(
            *_shares(splits),
            *([_sums(splits, "The sum of the terms against one backward pass: these networks")] if splits else []),
            _sums(checks, f"The same for every model with default settings, {SMALL_UNITS} units"),
            *worked_tables(),
        ),
        pictures=_pictures(splits),
    )


@cache
def _checks() -> tuple[Split, ...]:
    """Split the gradient of every model; once, as it depends on no subject."""
    return tuple(each for example in small_examples() for each in split(example))


def _described(example: Example) -> str:
    steps, batch = len(example.batch.inputs), example.batch.inputs.shape[2]
    counting = int(example.batch.counted.flatten(1).any(1).sum())
    losses = "a loss at one of them" if counting == 1 else f"losses at {counting} of them"
    return (
        f"{example.family}: {example.network.model.hidden_size} units, task {type(example.task).__name__}, {steps} "
        f"time steps, {losses}; E is the mean over {batch} sequences."
    )


def _lag_findings(splits: Sequence[Split]) -> Iterator[str]:
    for each in splits:
        if not np.isfinite(each.share).all():
            yield f"{each.name}: its gradient is zero or not finite, so there are no shares."
            continue
        short = float(each.share[:4].sum())
        text = (
            f"{each.name}: lags 0 to 3 make {short:.1%} of the gradient (shares are signed and add to 100%); the mean "
            f"lag is {each.mean_lag:.1f} steps."
        )
        if (each.share < 0).any():
            text += f" {int((each.share < 0).sum())} of {len(each.share)} lags pull against the whole (share below 0)."
        yield text
    if any(len(each.loss_steps) > 1 for each in splits):
        yield f"Terms at {', '.join(dict.fromkeys(_listed(each.loss_steps) for each in splits))}."


def _listed(steps: Sequence[int]) -> str:
    if len(steps) == steps[-1] - steps[0] + 1:
        return f"loss steps {steps[0]} to {steps[-1]}"
    return f"{len(steps)} loss steps between {steps[0]} and {steps[-1]}"


def _shares(splits: Sequence[Split]) -> Iterator[Table]:
    """Tabulate shares by groups of lags, in tables with few enough columns."""
    longest = max((len(each.share) for each in splits), default=0)
    starts = [lag for lag in _LAGS if lag < longest]
    stops = [*starts[1:], longest]
    for first in range(0, len(splits), 3):
        some = splits[first : first + 3]
        rows = [
            (_group(start, stop), *(_share(float(each.share[start:stop].sum())) for each in some))
            for start, stop in zip(starts, stops, strict=True)
        ]
        rows += [
            ("sum", *(_share(float(each.share.sum())) for each in some)),
            ("mean lag", *(f"{each.mean_lag:.2f}" if np.isfinite(each.share).all() else "-" for each in some)),
        ]
        yield Table(
            title="Share of the gradient of the recurrent weights by lag",
            header=("lag", *(each.name for each in some)),
            rows=rows,
            caption="Terms of these lags along the whole gradient G: <terms, G> / <G, G>. Mean lag in time steps, "
            "weighted by |share|.",
        )


def _group(start: int, stop: int) -> str:
    return str(start) if stop == start + 1 else f"{start} to {stop - 1}"


def _share(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.4f}" if abs(value) >= 5e-5 or value == 0 else f"{value:.0e}"


def _sums(splits: Sequence[Split], title: str) -> Table:
    return Table(
        title=title,
        header=("network", "terms", "relative error"),
        rows=[(each.name, str(each.terms), _error(each.error)) for each in splits],
        caption="Largest over the weights of ||sum of terms - G|| / ||G||.",
    )


def _error(error: float) -> str:
    return f"{error:.1e}" if math.isfinite(error) else "not finite"


def _pictures(splits: Sequence[Split]) -> list[Picture]:
    if not splits:
        return []
    one_loss = all(len(each.loss_steps) == 1 for each in splits)
    shown = "over its lag, on a logarithmic axis" if one_loss else "as a colour, loss step across, source step up"
    terms = Picture(
        name="weight_terms",
        alt=f"Norm of every term of dE/dW {shown}: {_ends(splits)}",
        draw=lambda: _lines(splits, _by_lag, "norm of the term", powers=True) if one_loss else _heat_maps(splits),
    )
    known = [each for each in splits if np.isfinite(each.share).all()]
    most = "; ".join(f"{each.name}, most at lag {int(each.share.argmax())}" for each in known)
    shares = Picture(
        name="weight_term_shares",
        alt=f"Share of the gradient of the recurrent weights by lag: {most}.",
        draw=lambda: _lines(known, lambda each: each.share, "share of the gradient", powers=False),
    )
    return [terms, shares] if known else [terms]


def _by_lag(each: Split) -> Float64[np.ndarray, " time"]:
    """Return log10 of the norms of the last loss's terms, by lag."""
    return each.log10_norm[: each.loss_steps[-1] + 1, -1][::-1]


def _ends(splits: Sequence[Split]) -> str:
    """Describe the norms at both ends, for the text beside a figure."""
    said = []
    for each in splits:
        values = _by_lag(each)
        finite = np.flatnonzero(np.isfinite(values))
        if len(finite):
            near, far = finite[0], finite[-1]
            said.append(f"{each.name}, 10^{values[near]:.1f} at lag {near}, 10^{values[far]:.1f} at lag {far}")
        else:
            said.append(f"{each.name}, nothing but zeros")
    return "; ".join(said) + "."


def _lines(
    splits: Sequence[Split], values: Callable[[Split], Float64[np.ndarray, " time"]], name: str, *, powers: bool
) -> Figure:
    figure, axes = single(4.4)
    for each, (dash, color) in zip(splits[:MOST_LINES], itertools.product(("-", "--"), COLORS), strict=False):
        look = {"color": color, "linestyle": dash, "linewidth": 2.0, "marker": "o", "markersize": 3.5}
        axes.plot(finite(values(each)), label=plain(each.name), **look)
    if powers:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
    else:
        axes.axhline(0, color=AXIS, linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    legend_above(axes)
    label(axes, x="lag, time steps", y=name)
    return figure


def _heat_maps(splits: Sequence[Split]) -> Figure:
    low, high, cut = _color_range(splits[:MOST_LINES])
    figure, shown = panels(min(len(splits), MOST_LINES), 3, height=3.6, more=0.5)
    for axes in figure.axes[len(shown) :]:
        axes.remove()
    colors = colormaps["viridis"].with_extremes(bad="white", under=_NOTHING)
    look = {"cmap": colors, "vmin": low, "vmax": high, "rasterized": True}
    mesh = None
    for axes, each in zip(shown, splits, strict=False):
        # Exact zeros get the colour of values too small for the scale.
        values = np.where(np.isneginf(each.log10_norm), low - 1, each.log10_norm)
        columns = np.array(each.loss_steps)
        across = np.concatenate([[columns[0] - 0.5], (columns[1:] + columns[:-1]) / 2, [columns[-1] + 0.5]])
        up = np.arange(len(values) + 1) - 0.5
        mesh = axes.pcolormesh(across, up, np.ma.masked_invalid(values), **look)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=6, integer=True, steps=[1, 2, 5, 10]))
        label(axes, title=each.name, x="loss step s", y="source step t")
        axes.grid(visible=False)
    assert mesh is not None
    bar = figure.colorbar(mesh, ax=shown, extend="min" if cut else "neither", format=power_of_ten)
    bar.locator = MaxNLocator(nbins=7, integer=True)
    bar.update_ticks()
    bar.set_label("norm of the term (grey: less, or 0)" if cut else "norm of the term", color=INK, fontsize=11)
    return figure


def _color_range(splits: Sequence[Split]) -> tuple[float, float, bool]:
    """Return the smallest and largest log10 norm of the colour scale, and whether some norms lie below it."""
    every = np.concatenate([each.log10_norm.ravel() for each in splits])
    known = every[np.isfinite(every)]
    if not len(known):
        return -1.0, 0.0, bool(np.isneginf(every).any())
    high = math.ceil(float(known.max()))
    low = min(max(math.floor(float(known.min())), high - DECADES), high - 1)
    return float(low), float(high), bool((every < low).any())
