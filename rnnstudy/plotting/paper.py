"""Figures for print: one column wide, text at 8 points, colours that also differ in luminance."""

import io
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from rnnstudy.plotting.style import COLORS

WIDTH = 3.25
"""Inches of a column."""

POINTS = 8.0
"""Size of all text."""

PRINT_COLORS = ("#00408a", "#c85500", "#006848", "#e098c2", "#f6c850", "#4a94c6")
"""Those of the page, in its order, moved to lightnesses (L*) of 28, 50, 38, 71, 83 and 59 of 100."""

_PRINTED: dict[str, str] = dict(zip(COLORS, PRINT_COLORS, strict=True))
_PER_INCH = 14.5  # characters of text
_THINNER = 0.6  # lines and markers, as the width shrinks from 5.6 inches
_LOWER = 0.68  # axes likewise, with room for text that shrinks less
_ROW = 0.15  # inches of a line of text
_NAME = 18  # characters of a name beside the axes
_SIDE_BY_SIDE = 0.85  # of two columns, whose lines of text break
_WIDEST = 6.0  # inches of a figure whose columns still fit, side by side, into one of print


def to_pdf(figure: Figure) -> bytes:
    """Return a drawn figure as PDF for a column of print; the figure is changed."""
    _fit(figure)
    buffer = io.BytesIO()
    with rc_context({"pdf.fonttype": 42}):
        figure.savefig(buffer, format="pdf", metadata={"CreationDate": None}, facecolor="white")
    return buffer.getvalue()


def _fit(figure: Figure) -> None:
    """Give a figure the width of a column, and its text, lines and colours those of print."""
    grid = [(axes, spec) for axes in figure.axes if (spec := axes.get_subplotspec()) is not None]
    columns = grid[0][1].get_gridspec().ncols
    if columns > 1 and figure.get_figwidth() > _WIDEST:
        _stack(figure, grid)
        columns = 1
    else:
        figure.set_figheight((_LOWER if columns == 1 else _SIDE_BY_SIDE) * figure.get_figheight())
    figure.set_figwidth(WIDTH)
    for axes, _ in grid:
        _fit_text(axes, WIDTH / columns)
    for legend in figure.legends.copy():
        _renew(figure, legend, loc="outside upper left")
    for artist in figure.findobj():
        _print(artist)


def _stack(figure: Figure, grid: list[tuple[Axes, SubplotSpec]]) -> None:
    """Put the axes of several columns below each other, in the order in which they were made."""
    labels = {spec.rowspan.start: axes.get_ylabel() for axes, spec in reversed(grid) if axes.get_ylabel()}
    ratios = np.asarray(grid[0][1].get_gridspec().get_height_ratios(), dtype=np.float64)
    rows = (_LOWER * figure.get_figheight() * ratios / ratios.sum()).tolist()
    heights = [rows[spec.rowspan.start] for _, spec in grid]
    figure.set_figheight(sum(heights))
    below = GridSpec(len(grid), 1, figure=figure, height_ratios=heights)
    for place, (axes, spec) in enumerate(grid):
        axes.set_subplotspec(below[place])
        axes.set_ylabel(labels.get(spec.rowspan.start, ""))
        axes.tick_params(labelleft=True)


def _fit_text(axes: Axes, width: float) -> None:
    """Break the lines of what is written around some axes; `width` in inches."""
    axes.set_title(_broken(axes.get_title(loc="left"), width), loc="left")
    axes.set_xlabel(_broken(axes.get_xlabel(), width - 0.6))
    named = [label.get_text() for label in axes.get_yticklabels()]
    if any(len(name) > _NAME for name in named):
        axes.set_yticks(axes.get_yticks(), ["\n".join(wrap(name, _NAME)) for name in named])
    if (legend := axes.get_legend()) is not None:
        beside = legend.get_in_layout()  # it has no room there: below the axes, or above a row of them
        place = (0, -0.35 - 0.12 * axes.get_xlabel().count("\n")) if beside else (0, 1)
        renewed = _renew(axes, legend, loc="upper left" if beside else "lower left", bbox_to_anchor=place)
        renewed.set_in_layout(beside)


def _broken(text: str, inches: float) -> str:
    return "\n".join(piece for line in text.split("\n") for piece in wrap(line, int(_PER_INCH * inches)) or [line])


def _renew(owner: Axes | Figure, legend: Legend, **place: Any) -> Legend:
    """Return a legend set anew, in as many columns as have room; a figure grows by its rows."""
    handles = [handle for handle in legend.legend_handles if handle is not None]
    labels = [text.get_text() for text in legend.get_texts()]
    legend.remove()
    columns = min(len(labels), max(1, int(WIDTH / (0.4 + max(map(len, labels)) / _PER_INCH))))
    if not legend.get_in_layout():  # above a row, where there is room for a single line
        columns = len(labels)
    if isinstance(owner, Figure):
        owner.set_figheight(owner.get_figheight() + _ROW * -(-len(labels) // columns))
    look = {"frameon": False, "fontsize": POINTS, "handlelength": 1.6, "columnspacing": 0.8, "borderaxespad": 0.2}
    return owner.legend(handles, labels, ncols=columns, **look, **place)


def _print(artist: Artist) -> None:
    """Give an artist the size and the colour of print."""
    if isinstance(artist, Text):
        artist.set_fontsize(POINTS)
    elif isinstance(artist, Line2D):
        artist.set_linewidth(_THINNER * artist.get_linewidth())
        artist.set_markersize(_THINNER * artist.get_markersize())
        artist.set_color(_printed(artist.get_color()))
    elif isinstance(artist, PolyCollection):
        artist.set_facecolor([_printed(color) for color in np.asarray(artist.get_facecolor())])
    elif isinstance(artist, Rectangle):
        artist.set_facecolor(_printed(artist.get_facecolor()))


def _printed(color: Any) -> Any:
    """Return the colour of print for one of the page, with its opacity."""
    found = _PRINTED.get(to_hex(color))
    return color if found is None else to_rgba(found, to_rgba(color)[3])
