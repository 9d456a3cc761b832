"""The report as one self-contained page."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, StrictUndefined

from rnnstudy.plotting.drawing import Drawing
from rnnstudy.plotting.page_style import STYLE
from rnnstudy.plotting.typeset import raise_powers, typeset
from rnnstudy.report.analysis.phrases import of_all
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.contents import MAX_DRAWN, Contents
from rnnstudy.report.sentences.verdict import RULES, gradient_verdicts, paired_verdicts
from rnnstudy.report.tables.columns import Cell, Column

MAX_ROWS = 300
"""Of each table, and sentences of each list; files beside the page have the rest."""

_TEMPLATE = Path(__file__).with_name("report.html.j2")


_BANDS = (
    "Line: median of the replicas; band: smallest to largest. A replica that stopped (solved or diverged) keeps its "
    "last value until the last replica of its run stops, where the line ends in a mark."
)
_EDITED = " * The gradient is edited on its way back: not the task's true one."
_BOUND = (
    " Dash-dotted: the bound of theory for vanilla networks, the norm at lag 0 times (γ·‖W_hh‖)^k at lag k, with γ "
    "the largest slope of the activation and ‖W_hh‖ the largest singular value, both at the last probe; median of "
    "the replicas. Where it falls, the gradient must vanish at least as fast; where it rises, it may vanish all "
    "the same. Gated cells, and networks with skips, residuals or layer normalisation, have no bound of this form."
)


@dataclass(frozen=True, kw_only=True)
class FigureSection:
    """A heading with figures and the definition of what they show.

    Args:
        title: The heading.
        definition: One paragraph.
        drawings: Its figures.
        details: Lines on what is not drawn.
    """

    title: str
    definition: str
    drawings: tuple[Drawing, ...] = ()
    details: tuple[str, ...] = ()


def render(contents: Contents, drawings: Mapping[str, Drawing]) -> str:
    """Write the page.

    Args:
        contents: All that it is about.
        drawings: File name without ending to figure.

    Returns:
        HTML, with styles and figures inside.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"powers": raise_powers, "typeset": typeset}
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    links = {summary.path: _link(contents, summary) for summary in contents.summaries[:MAX_ROWS]}
    return template.render(
        contents=contents,
        style=STYLE,
        every=_lists(contents),
        rules=RULES,
        solved=_solved(contents, drawings),
        paired=_paired(contents, drawings),
        sections=[section for section in _sections(contents, drawings) if section.drawings],
        parts=[
            (group.title, [(links[each.path], row) for each, row in zip(group.summaries, _rows(part), strict=False)])
            for group, part in contents.parts(contents.table, MAX_ROWS)
        ],
        left=len(contents.summaries) - MAX_ROWS,
        pairs=_rows([column.rows(0, MAX_ROWS) for column in contents.paired]),
        pairs_left=len(contents.comparisons) - MAX_ROWS,
        links=links,
    )


def _rows(table: Sequence[Column]) -> list[tuple[Cell, ...]]:
    return list(zip(*(column.cells for column in table), strict=True))


def _link(contents: Contents, summary: Summary) -> str:
    path, start = summary.path.resolve(), contents.folder.resolve()
    # Bytes: a folder's name need not be UTF-8.
    return quote(os.fsencode(f"{Path(os.path.relpath(path, start)).as_posix()}/"))


def _lists(contents: Contents) -> list[tuple[str, list[str], int]]:
    """Return the full lists of sentences: title, lines, and how many more there are."""
    runs, pairs = contents.summaries, contents.comparisons
    found = [(_every(len(runs), "configuration"), gradient_verdicts(runs[:MAX_ROWS]), len(runs) - MAX_ROWS)]
    if pairs:
        title = f"{_every(len(pairs), 'comparison')} with {contents.baseline}"
        found.append((title, paired_verdicts(pairs[:MAX_ROWS]), len(pairs) - MAX_ROWS))
    return found


def _every(count: int, noun: str) -> str:
    return f"The {noun}" if count == 1 else f"{of_all(count, count).capitalize()} {noun}s"


def _of(drawings: Mapping[str, Drawing], *stems: str) -> tuple[Drawing, ...]:
    return tuple(drawing for stem in stems for name, drawing in drawings.items() if _stem(name) == stem)


def _stem(name: str) -> str:
    stem, _, number = name.rpartition("_")
    return stem if number.isdigit() else name


def _solved(contents: Contents, drawings: Mapping[str, Drawing]) -> FigureSection:
    rules = sorted({summary.facts.solved_when for summary in contents.summaries if summary.is_judged})
    if not rules:
        return FigureSection(title="Runs", definition="The task has no criterion.")
    length = " Against the length of the task: one line per configuration, moved apart a little to be seen."
    over = (
        " Over training: Kaplan-Meier estimate of the fraction solved, with its 95 % band; a replica that has not "
        "solved the task when its run stops is censored, not dropped."
    )
    return FigureSection(
        title="Solved",
        definition=f"Fraction of replicas that reached: {'; '.join(rules)}. Wilson 95 % interval. Hollow: a run that "
        f"has not ended, so far.{length if 'solved_by_length' in drawings else ''}"
        f"{over if 'solved_over_training' in drawings else ''}",
        drawings=_of(drawings, "solved", "solved_by_length", "solved_over_training"),
    )


def _paired(contents: Contents, drawings: Mapping[str, Drawing]) -> FigureSection:
    return FigureSection(
        title=f"Compared with {contents.baseline}",
        definition="Mean over pairs of replicas with the same seed of this less its baseline, and its 95 % bootstrap "
        "interval. Circle: better; square: worse; grey diamond: no difference shown, or too few pairs to say; "
        "triangle: higher or lower, of horizon and decay, where larger means that the gradient reaches farther. Steps "
        "to solve are counted up to the end of what both were trained for.",
        drawings=_of(drawings, "paired_differences"),
    )


def _sections(contents: Contents, drawings: Mapping[str, Drawing]) -> list[FigureSection]:
    count, drawn = len(contents.summaries), contents.drawn
    edited = _EDITED if any(summary.is_edited for summary in drawn) else ""
    bound = _BOUND if any(summary.logs.gain for summary in drawn) else ""
    cut = f" Of {count} runs {len(drawn)} are drawn." if count > min(len(drawn), MAX_DRAWN) else ""
    return [
        FigureSection(
            title="Gradient against lag",
            definition="Norm of the total derivative of the loss with respect to the hidden state of the top layer, "
            "per sequence, mean over the batch, at each distance back from the last time step. Dashed: first probe; "
            "solid: last probe of each replica. Line: median of the replicas; band: smallest to largest finite, last "
            "probe. The scale is logarithmic, so exact zeros are gaps: half or more of the replicas were zero there. "
            "Where the loss is at many time steps, the gradient at each is also that of the outputs close to it."
            f"{bound}{edited}{cut}",
            drawings=_of(drawings, "gradient_by_lag"),
            details=tuple(_undrawn(drawn)),
        ),
        FigureSection(
            title="Learning curves",
            definition=f"{_BANDS} Dashed grey: the best guess without memory, from the time step and the present input "
            "alone (of the accuracy: that of chance). A loss that is not a number counts as infinite in the median, "
            f"and is not drawn.{cut}",
            drawings=_of(drawings, "accuracy", "loss"),
        ),
        FigureSection(
            title="Raw and clipped norms",
            definition="Norm of the gradient of the batch's mean loss with respect to all weights, at the probes: as "
            f"the backward pass gives it (solid), and as the optimizer gets it (dotted). {_BANDS}{edited}{cut}",
            drawings=_of(drawings, "weight_gradient"),
        ),
        FigureSection(
            title="Gradient over training",
            definition="The norm of the gradient at every time step (across) and probe (up), log10 of the median of "
            "the replicas, all maps on one colour scale: the 1st to 99th percentile of all cells, at most "
            "40 decades; arrows on the colour bar mean that some cells are beyond it. Cells where half or more of the "
            f"replicas are exactly zero, or not finite, have colours of their own.{edited}{cut}",
            drawings=_of(drawings, "heatmaps"),
        ),
    ]


def _undrawn(summaries: Sequence[Summary]) -> Iterator[str]:
    """Yield counts of what a logarithmic scale cannot show, per run and probe."""
    for summary in summaries:
        curve = summary.logs.gradient
        for probe, norms in (("first", curve.first()), ("last", curve.last())) if curve else ():
            zeros, nans, infinite = int((norms == 0).sum()), int(np.isnan(norms).sum()), int(np.isinf(norms).sum())
            if zeros or nans or infinite:
                counts = f"{zeros} exact zeros, {nans} NaN, {infinite} infinite"
                yield f"{summary.name}, {probe} probe: {counts}, of {norms.size} values"
