"""The report as one self-contained page."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, StrictUndefined

from rnnstudy.plotting.drawing import Drawing
from rnnstudy.plotting.page_style import STYLE
from rnnstudy.plotting.typeset import raise_powers, typeset
from rnnstudy.report.analysis.comparison import show_seeds
from rnnstudy.report.analysis.phrases import of_all, some
from rnnstudy.report.analysis.probes import probes_of
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.contents import MAX_DRAWN, Contents
from rnnstudy.report.sentences.verdict import RULES, gradient_verdicts, paired_verdicts
from rnnstudy.report.tables.by_pair import FIGURES
from rnnstudy.report.tables.columns import Cell, Column
from rnnstudy.runs.events import Nonfinite

MAX_ROWS = 300
"""Largest number of rows in a table and of sentences in a list; files beside the page have the rest."""

_TEMPLATE = Path(__file__).with_name("report.html.j2")


def render(contents: Contents, drawings: Mapping[str, Drawing]) -> str:
    """Return the HTML page, with styles and figures inside; `drawings` are by file name without ending."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"powers": raise_powers, "typeset": typeset}
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    links = {summary.path: _link(contents, summary) for summary in contents.summaries[:MAX_ROWS]}
    return template.render(
        contents=contents,
        style=STYLE,
        every=_lists(contents),
        rules=RULES,
        cell_rule=FIGURES,
        seeds=show_seeds,
        criteria=sorted({summary.facts.solved_when for summary in contents.summaries if summary.is_judged}),
        drawings=drawings,
        of=lambda *stems: [drawings[name] for stem in stems for name in drawings if _stem(name) == stem],
        most_drawn=MAX_DRAWN,
        undrawn=list(_undrawn(contents.drawn)),
        explosions=list(_explosions(contents.drawn))[:MAX_ROWS],
        parts=[
            (group.title, [(links[each.path], row) for each, row in zip(group.summaries, _rows(part), strict=False)])
            for group, part in contents.parts(contents.table.columns, MAX_ROWS)
        ],
        left=len(contents.summaries) - MAX_ROWS,
        pairs=_rows([column.rows(0, MAX_ROWS) for column in contents.paired.columns]),
        levels=_rows([column.rows(0, MAX_ROWS) for column in contents.levels.columns]),
        pairs_left=len(contents.comparisons) - MAX_ROWS,
        links=links,
    )


def _rows(table: Sequence[Column]) -> list[tuple[Cell, ...]]:
    return list(zip(*(column.cells for column in table), strict=True))


def _link(contents: Contents, summary: Summary) -> str:
    path = Path(os.path.relpath(summary.path.resolve(), contents.folder.resolve()))
    return quote(os.fsencode(f"{path.as_posix()}/"))  # bytes: a folder's name need not be UTF-8


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


def _stem(name: str) -> str:
    stem, _, number = name.rpartition("_")
    return stem if number.isdigit() else name


def _undrawn(summaries: Sequence[Summary]) -> Iterator[str]:
    """Yield counts of what a logarithmic scale cannot show, per run and probe."""
    for summary in summaries:
        probes = probes_of(summary)
        for probe, norms in (("first probe", probes.first), ("worst step", probes.worst), ("last probe", probes.last)):
            zeros, nans, infinite = int((norms == 0).sum()), int(np.isnan(norms).sum()), int(np.isinf(norms).sum())
            if zeros or nans or infinite:
                counts = f"{zeros} exact zeros, {nans} NaN, {infinite} infinite"
                yield f"{summary.name}, {probe}: {counts}, of {norms.size} values"


def _explosions(summaries: Sequence[Summary]) -> Iterator[str]:
    """Yield the steps that spiked and what was not finite first, per run and replica."""
    for summary in summaries:
        found: dict[int, list[str]] = {}
        for event in summary.logs.events:
            spike = event.spike
            if not event.nonfinite:
                text = f"step {spike.step}: norm {spike.raw_norm:.4g}, loss {spike.loss:.4g}"
                found.setdefault(event.replica, []).append(text)
        for replica, first in enumerate(summary.logs.first_nonfinite):
            if first is not None:
                found.setdefault(replica, []).append(_nonfinite(first))
        for replica, texts in sorted(found.items()):
            yield f"{summary.name}, replica {replica}: {'; '.join(texts)}"


def _nonfinite(first: Nonfinite) -> str:
    """Return, e.g., "step 13: the gradient is not finite, first in layer 0, time step 4, parameter embedding"."""
    places = [] if first.layer is None else [f"layer {first.layer}, time step {first.time_step}"]
    if first.kind == "gradient":
        places.append(some(first.parameters, 3))
    where = f", first in {'; of '.join(filter(None, places))}" if any(places) else ""
    return f"step {first.step}: the {first.kind} is not finite{where}"
