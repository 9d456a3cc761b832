"""The few figures of a run to look at first: one of each over all replicas, and their spread."""

import math
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Literal

import numpy as np

from rnnstudy.core.lags import log_spaced_lags, thinned
from rnnstudy.runs import tags
from rnnstudy.runs.digest import vanishing_ratios

NUM_LAGS = 5
"""Number of lags with a curve of their own, out of those with histograms."""


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts of a run that its view needs beforehand.

    Args:
        layers: Recurrent layers.
        states: States of a layer whose gradients are recorded.
        seq_len: Time steps of the longest training sequence.
        informative_steps: Time steps that can carry the information.
        norms: Part of `hidden_grad_norm` that is shown: "answer" where the loss has other outputs too, else "total".
        mitigations: Names of the mitigations, in the order in which they act.
        asked: Names of the instruments that the user switched on, those that are not on by default.
        measures_norms: Whether ||dL/dh_t|| is measured.
        meanings: Meanings of the tags that single instruments and mitigations log, by family.
        scaled_by: Name of the mitigation whose factor on the gradient is shown; None without any.
        absent: Names of the figures of `overview_figures` that this run will not have.
    """

    layers: int = 1
    states: int = 1
    seq_len: int = 1
    informative_steps: Sequence[int] = ()
    norms: Literal["total", "answer"] = "total"
    mitigations: Sequence[str] = ()
    asked: Collection[str] = ()
    measures_norms: bool = True
    meanings: Mapping[str, tags.Meaning] = field(default_factory=dict)
    scaled_by: str | None = None
    absent: Sequence[str] = ()

    @property
    def top(self) -> int:
        """Index of the layer that the readout sees."""
        return self.layers - 1

    @property
    def top_norms(self) -> str:
        """Tag of the curve of ||dL/dh_t|| of the top layer, L the answer's loss alone."""
        return tags.HIDDEN_GRAD_NORM.format(state="h", layer=self.top, part=self.norms)


@dataclass(frozen=True, kw_only=True)
class GlanceFigure:
    """One of the figures to look at first.

    Args:
        name: Its tag is "at_a_glance/{name}"; its spread is at "spread/{name}/low" and ".../high".
        title: Title of its chart.
        source: Tag of its source, a figure per replica.
        meaning: Text for the description in TensorBoard.
        unit: Its unit; "1" for a pure number.
        of_all: Its value over all replicas.
        of_nan: Replacement for NaN; None leaves NaN out.
        so_far: Operation that joins a replica's new figure to those before; None takes the new one alone.
        is_log10: Whether log10 of the source is shown.
    """

    name: str
    title: str
    source: str
    meaning: str
    unit: str = "1"
    of_all: Literal["median", "mean", "largest"] = "median"
    of_nan: float | None = None
    so_far: Callable[[float, float], float] | None = None
    is_log10: bool = False

    @property
    def tag(self) -> str:
        """Tag in TensorBoard."""
        return tags.AT_A_GLANCE.format(figure=self.name)

    @property
    def bands(self) -> tuple[str, str]:
        """Tags of the smallest and the largest figure."""
        return tags.SPREAD.format(figure=self.name, end="low"), tags.SPREAD.format(figure=self.name, end="high")

    @property
    def has_bands(self) -> bool:
        """Whether its spread is shown."""
        return self.of_all == "median"

    @property
    def description(self) -> str:
        """Description beside the chart in TensorBoard."""
        stopped = "A replica that has stopped keeps its last figure"
        if self.of_all == "median":
            stopped = "A replica that solved the task keeps its last figure, one that diverged has none"
        return (
            f"{self.meaning} {self.of_all.capitalize()} over the replicas. {stopped}; no point without a finite result."
            f" Unit: {self.unit}."
        )


def overview_figures(facts: RunFacts) -> list[GlanceFigure]:
    """Return the figures to look at first, in the order in which they are shown."""
    figures = [
        GlanceFigure(
            name="solved_fraction",
            title="solved fraction",
            source=tags.SOLVED,
            meaning="1 for a replica that has met the task's criterion at this or an earlier evaluation, 0 otherwise.",
            of_all="mean",
        ),
        GlanceFigure(
            name="diverged_fraction",
            title="diverged fraction",
            source=tags.DIVERGED,
            meaning="1 for a replica that was given up, since its gradient was not finite at too many steps in a row, "
            "0 otherwise.",
            of_all="mean",
        ),
        GlanceFigure(
            name="log10_largest_norm",
            title="log10 of the largest gradient norm so far",
            source=tags.LARGEST_NORM,
            meaning="log10 of the largest finite norm of the gradient of all parameters, before the mitigations change "
            "it, over every step so far.",
            unit="powers of ten of the loss per unit of the weights",
            of_all="largest",
            so_far=np.fmax,
            is_log10=True,
        ),
        GlanceFigure(
            name="spikes",
            title="spikes so far, per replica",
            source=tags.SPIKES,
            meaning="Steps so far whose gradient norm was far above the replica's recent ones, or not finite.",
            unit="steps per replica",
            of_all="mean",
            so_far=operator.add,
        ),
        GlanceFigure(
            name="loss",
            title="loss",
            source=tags.LOSS,
            meaning="Mean loss on the fixed evaluation set, not trained on; NaN counts as infinite.",
            unit=tags.TAGS[tags.TRAIN_LOSS].unit,
            of_nan=math.inf,
        ),
        GlanceFigure(
            name="accuracy",
            title="accuracy",
            source=tags.ACCURACY,
            meaning="Fraction of right answers on the fixed evaluation set, not trained on.",
        ),
        GlanceFigure(
            name="log10_gradient_at_information",
            title="log10 of the gradient at the information over that at the last time step",
            source=facts.top_norms,
            meaning="log10 of ||dL/dh_t|| (total, top layer, mean over the batch; L: the answer's loss alone) at the "
            "earliest time step that can carry the information, the first one if there is none, over that at the last "
            "time step. 0: as large as where the sequence ends; -6: a millionth.",
            unit="powers of ten",
        ),
        GlanceFigure(
            name="horizon",
            title="gradient horizon, in time steps",
            source=tags.HORIZON.format(state="h", layer=facts.top),
            meaning="Largest lag, in time steps back from the last, at which ||dL/dh_t|| (total, top layer; L: the "
            "answer's loss alone) is within a factor of that at lag 0 (100 unless set otherwise).",
            unit="time steps",
        ),
        GlanceFigure(
            name="clip_coefficient",
            title="clip coefficient",
            source=tags.CLIP_COEFFICIENT.format(mitigation=facts.scaled_by),
            meaning=f"Factor that {facts.scaled_by} scales the gradient by, mean over the steps since the last entry; "
            "1 is untouched.",
        ),
    ]
    return [figure for figure in figures if figure.name not in facts.absent]


def glance_of(values: Sequence[float], figure: GlanceFigure) -> float:
    """Reduce one figure per replica to one of all, which may be infinite; NaN without any."""
    told = [figure.of_nan if math.isnan(value) else value for value in values]
    counted = [value for value in told if value is not None]
    if not counted:
        return math.nan
    # Between minus and plus infinity the middle is NaN, without a warning.
    return {"median": median, "mean": fmean, "largest": max}[figure.of_all](counted)


def spread_of(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the smallest and the largest finite figure over the replicas; None if none is finite."""
    finite = [value for value in values if math.isfinite(value)]
    return (min(finite), max(finite)) if finite else None


def log10_at_information(norms: Mapping[int, Sequence[float]], facts: RunFacts) -> list[float]:
    """Return log10 of ||dL/dh_t|| at the earliest informative time step over that at the last, for each replica.

    -inf where only the former is exactly zero, NaN where both are zero, one is NaN, or the latter is infinite.
    """
    first = min(facts.informative_steps, default=0)
    return [float(vanishing_ratios(np.array([curve]), first)[0]) for curve in norms.values()]


def by_lag(row: np.ndarray) -> dict[str, float]:
    """Return log10 of the median gradient norms `(time,)` at a few lags before the end, by tag, where finite."""
    shown = {tag: row[-1 - lag] for lag, tag in lag_tags(len(row)).items()}
    return {tag: math.log10(norm) for tag, norm in shown.items() if 0 < norm < math.inf}


def lag_tags(seq_len: int) -> dict[int, str]:
    """Return the tag of each lag with a curve of its own."""
    lags = thinned(log_spaced_lags(seq_len), NUM_LAGS)
    return {lag: tags.GRADIENT_BY_LAG.format(lag=f"{lag:04d}") for lag in lags}
