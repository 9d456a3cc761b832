"""The report as one self-contained page."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from rnnstudy.report.figures import MAX_MAPS, Drawing
from rnnstudy.report.statistics import top_curve
from rnnstudy.report.table import Column, Summary

_TEMPLATE = Path(__file__).with_name("report.html.j2")

STYLE = Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8"))
"""The look of the project's pages, to stand in a page itself."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with figures and the definition of what they show.

    Args:
        title: The heading.
        definition: One paragraph.
        images: Pairs of figure and data URI.
        details: Lines on what is not drawn.
    """

    title: str
    definition: str
    images: tuple[tuple[Drawing, str], ...]
    details: tuple[str, ...] = ()


def render(
    summaries: Sequence[Summary],
    table: Sequence[Column],
    drawings: Mapping[str, Drawing],
    *,
    title: str,
    headline: Sequence[str],
    notes: Sequence[str],
) -> str:
    """Write the page.

    Args:
        summaries: The runs, in the order of the table's rows.
        table: Its columns.
        drawings: File name to figure.
        title: Of the page.
        headline: Sentences to begin with.
        notes: Lines on what limits the comparison.

    Returns:
        HTML, with styles and figures inside.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    solved, *others = _sections(summaries, drawings)
    return template.render(
        title=title,
        style=STYLE,
        headline=headline,
        notes=notes,
        solved=solved,
        sections=[section for section in others if section.images],
        table=table,
        links=[f"../{quote(summary.entry.run.label)}/" for summary in summaries],
        summaries=summaries,
    )


def _sections(summaries: Sequence[Summary], drawings: Mapping[str, Drawing]) -> list[Section]:
    rules = sorted({summary.entry.run.facts.solved_when for summary in summaries if summary.is_judged})
    reached = f"Fraction of replicas that reached: {'; '.join(rules)}." if rules else "The task has no criterion."
    bands = (
        "Line: median of the replicas; band: smallest to largest. A replica that stopped (solved or diverged) keeps "
        "its last value until the last replica of its run stops, where the line ends in a dot."
    )
    cut = f" The first {MAX_MAPS} runs are drawn." if len(summaries) > MAX_MAPS else ""
    plan: list[tuple[str, str, tuple[str, ...]]] = [
        (
            "Solved",
            f"{reached} Wilson 95 % interval. Runs that have not ended are left out.",
            ("solved.png",),
        ),
        (
            "Gradient against lag",
            "Norm of the total derivative of the loss with respect to the hidden state of the top layer, per sequence, "
            "mean over the batch, at each distance back from the last time step. Dashed: first probe; solid: last "
            "probe of each replica. Line: median of the replicas; band: smallest to largest finite, last probe. "
            "The scale is logarithmic, so exact zeros are gaps: half or more of the replicas were zero there. Where "
            "the loss is at many time steps, the gradient at each is also that of the outputs close to it.",
            ("grad_norm_by_lag.png",),
        ),
        (
            "Learning curves",
            f"{bands} Dashed grey: the best guess without memory, from the time step and the present input alone (of "
            "the accuracy: that of chance). A loss that is not a number counts as "
            "infinite in the median, and is not drawn.",
            ("accuracy.png", "loss.png"),
        ),
        (
            "Gradient over training",
            "The same norm as above, log10 of the median of the replicas, for every time step (across) and probe (up), "
            "all maps on one colour scale: the 1st to 99th percentile of all cells, at most 40 decades; arrows on the "
            "colour bar mean that some cells are beyond it. Cells where half or more of the replicas are exactly "
            f"zero, or not finite, have colours of their own.{cut}",
            ("heatmaps.png",),
        ),
    ]
    return [
        Section(
            title=title,
            definition=definition,
            images=tuple((drawings[file], _data_uri(drawings[file])) for file in files if file in drawings),
            details=tuple(_undrawn(summaries)) if "grad_norm_by_lag.png" in files else (),
        )
        for title, definition, files in plan
    ]


def _undrawn(summaries: Sequence[Summary]) -> list[str]:
    """Return counts of what a logarithmic scale cannot show, per run and probe."""
    lines: list[str] = []
    for summary in summaries:
        curve = top_curve(summary.entry.run)
        if curve is None:
            continue
        for probe, norms in (("first", curve.first()), ("last", curve.last())):
            zeros, nans, infinite = int((norms == 0).sum()), int(np.isnan(norms).sum()), int(np.isinf(norms).sum())
            if zeros or nans or infinite:
                counts = f"{zeros} exact zeros, {nans} NaN, {infinite} infinite"
                lines.append(f"{summary.entry.name}, {probe} probe: {counts}, of {norms.size} values")
    return lines


def _data_uri(drawing: Drawing) -> str:
    return f"data:image/png;base64,{base64.b64encode(drawing.png).decode()}"
