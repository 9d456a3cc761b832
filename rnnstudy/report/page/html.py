"""The report as one self-contained page."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, StrictUndefined

from rnnstudy.plotting.drawing import Drawing
from rnnstudy.plotting.page_style import STYLE
from rnnstudy.plotting.typeset import raise_powers, typeset
from rnnstudy.report.analysis.phrases import of_all
from rnnstudy.report.analysis.statistics import top_curve
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.contents import MAX_DRAWN, Contents
from rnnstudy.report.sentences.verdict import RULES, gradient_verdicts, paired_verdicts, verdicts
from rnnstudy.report.tables.by_run import Column
from rnnstudy.runs import tags

MAX_ROWS = 300
"""Of each table, and sentences of each list; files beside the page have the rest."""

_TEMPLATE = Path(__file__).with_name("report.html.j2")


_BANDS = (
    "Line: median of the replicas; band: smallest to largest. A replica that stopped (solved or diverged) keeps its "
    "last value until the last replica of its run stops, where the line ends in a mark."
)
_EDITED = " * The gradient is edited on its way back: not the task's true one."


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with figures and the definition of what they show.

    Args:
        title: The heading.
        definition: One paragraph.
        drawings: Its figures.
        details: Lines on what is not drawn.
    """

    title: str
    definition: str
    drawings: tuple[Drawing, ...]
    details: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table.

    Args:
        link: To the folder of the run, from the page.
        cells: Figure and second line, by column.
    """

    link: str
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Part:
    """The rows of a group of runs.

    Args:
        title: May be empty.
        rows: In their order.
    """

    title: str
    rows: tuple[Row, ...]


def render(
    contents: Contents,
    table: Sequence[Column],
    comparison_table: Sequence[Column],
    drawings: Mapping[str, Drawing],
) -> str:
    """Write the page.

    Args:
        contents: All that it is about.
        table: Columns; rows are the runs of the groups, one group after the other.
        comparison_table: Columns of the comparisons with a baseline; may be empty.
        drawings: File name without ending to figure.

    Returns:
        HTML, with styles and figures inside.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["powers"] = raise_powers
    environment.filters["typeset"] = typeset
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    summaries = contents.summaries
    return template.render(
        title=contents.title,
        style=STYLE,
        verdicts=verdicts(contents),
        every=_lists(contents),
        rules=RULES,
        solved=_solved(contents, drawings),
        paired=_paired(contents, drawings),
        sections=[section for section in _sections(contents, drawings) if section.drawings],
        table=table,
        parts=_parts(contents, table),
        left=len(summaries) - MAX_ROWS,
        comparison_table=comparison_table,
        pairs=[tuple(column.cells[row] for column in comparison_table) for row in _shown_rows(comparison_table)],
        pairs_left=len(contents.comparisons) - MAX_ROWS,
        notes=contents.notes,
        runs=[(summary, _link(contents, summary)) for summary in summaries[:MAX_ROWS]],
    )


def _link(contents: Contents, summary: Summary) -> str:
    path, start = summary.entry.run.path.resolve(), contents.folder.resolve()
    # Bytes: a folder's name need not be UTF-8.
    return quote(os.fsencode(f"{Path(os.path.relpath(path, start)).as_posix()}/"))


def _parts(contents: Contents, table: Sequence[Column]) -> list[Part]:
    parts: list[Part] = []
    start = 0
    for group in contents.groups:
        shown = group.summaries[: max(MAX_ROWS - start, 0)]
        found = tuple(
            Row(link=_link(contents, summary), cells=tuple(column.cells[number] for column in table))
            for number, summary in enumerate(shown, start=start)
        )
        if found:
            parts.append(Part(title=group.title, rows=found))
        start += len(group.summaries)
    return parts


def _shown_rows(table: Sequence[Column]) -> range:
    return range(min(len(table[0].cells), MAX_ROWS) if table else 0)


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


def _solved(contents: Contents, drawings: Mapping[str, Drawing]) -> Section:
    rules = sorted({summary.entry.run.facts.solved_when for summary in contents.summaries if summary.is_judged})
    if not rules:
        return Section(title="Runs", definition="The task has no criterion.", drawings=())
    length = " Against the length of the task: one line per configuration, moved apart a little to be seen."
    over = (
        " Over training: Kaplan-Meier estimate of the fraction solved, with its 95 % band; a replica that has not "
        "solved the task when its run stops is censored, not dropped."
    )
    definition = (
        f"Fraction of replicas that reached: {'; '.join(rules)}. Wilson 95 % interval. Hollow: a run that has not "
        f"ended, so far.{length if 'solved_by_length' in drawings else ''}"
        f"{over if 'solved_over_training' in drawings else ''}"
    )
    return Section(
        title="Solved",
        definition=definition,
        drawings=_of(drawings, "solved", "solved_by_length", "solved_over_training"),
    )


def _paired(contents: Contents, drawings: Mapping[str, Drawing]) -> Section:
    return Section(
        title=f"Compared with {contents.baseline}",
        definition="Mean over pairs of replicas with the same seed of this less its baseline, and its 95 % bootstrap "
        "interval. Circle: better; square: worse; grey diamond: no difference shown, or too few pairs to say; "
        "triangle: higher or lower, of horizon and decay, where larger means that the gradient reaches farther. Steps "
        "to solve are counted up to the end of what both were trained for.",
        drawings=_of(drawings, "paired_differences"),
    )


def _sections(contents: Contents, drawings: Mapping[str, Drawing]) -> list[Section]:
    edited = _EDITED if any(summary.entry.run.edits_adjoints for summary in contents.drawn) else ""
    count = len(contents.summaries)
    cut = f" Of {count} runs {len(contents.drawn)} are drawn." if count > min(len(contents.drawn), MAX_DRAWN) else ""
    bound = (
        " Dash-dotted: the bound of theory for vanilla networks, the norm at lag 0 times (γ·‖W_hh‖)^k at lag k, with γ "
        "the largest slope of the activation and ‖W_hh‖ the largest singular value, both at the last probe; median of "
        "the replicas. Where it falls, the gradient must vanish at least as fast; where it rises, it may vanish all "
        "the same. Gated cells, and networks with skips, residuals or layer normalisation, have no bound of this form."
        if any(_has_bound(summary) for summary in contents.drawn)
        else ""
    )
    return [
        Section(
            title="Gradient against lag",
            definition="Norm of the total derivative of the loss with respect to the hidden state of the top layer, "
            "per sequence, mean over the batch, at each distance back from the last time step. Dashed: first probe; "
            "solid: last probe of each replica. Line: median of the replicas; band: smallest to largest finite, last "
            "probe. The scale is logarithmic, so exact zeros are gaps: half or more of the replicas were zero there. "
            "Where the loss is at many time steps, the gradient at each is also that of the outputs close to it."
            f"{bound}{edited}{cut}",
            drawings=_of(drawings, "gradient_by_lag"),
            details=tuple(_undrawn(contents.drawn)),
        ),
        Section(
            title="Learning curves",
            definition=f"{_BANDS} Dashed grey: the best guess without memory, from the time step and the present input "
            "alone (of the accuracy: that of chance). A loss that is not a number counts as infinite in the median, "
            f"and is not drawn.{cut}",
            drawings=_of(drawings, "accuracy", "loss"),
        ),
        Section(
            title="Raw and clipped norms",
            definition="Norm of the gradient of the batch's mean loss with respect to all weights, at the probes: as "
            f"the backward pass gives it (solid), and as the optimizer gets it (dotted). {_BANDS}{edited}{cut}",
            drawings=_of(drawings, "weight_gradient"),
        ),
        Section(
            title="Gradient over training",
            definition="The norm of the gradient at every time step (across) and probe (up), log10 of the median of "
            "the replicas, all maps on one colour scale: the 1st to 99th percentile of all cells, at most "
            "40 decades; arrows on the colour bar mean that some cells are beyond it. Cells where half or more of the "
            f"replicas are exactly zero, or not finite, have colours of their own.{edited}{cut}",
            drawings=_of(drawings, "heatmaps"),
        ),
    ]


def _has_bound(summary: Summary) -> bool:
    return tags.top(tags.GAIN_BOUND, summary.entry.run.metrics) is not None


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
