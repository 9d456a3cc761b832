"""Colours, text and panels common to all figures."""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import FuncFormatter

# Okabe and Ito's palette, less the yellow that is hard to see on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
BASELINE_COLOR = "#111111"
INK = "#333333"
GREY = "#666666"
AXIS = "#888888"
GRID = "#e4e4e4"
DPI = 144
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Markers that distinguish lines that a reader, or a printer, sees in the same colour."""


@cache
def _drawable(character: str) -> bool:
    return character.isprintable() and get_font(findfont("DejaVu Sans")).get_char_index(ord(character)) != 0


def plain(text: str, *, limit: int = 48) -> str:
    """Return any text safe to draw: no mathematics, no missing glyphs, no hidden label, not too long."""
    shown = "".join(character if _drawable(character) else "?" for character in text)
    shown = shown if len(shown) <= limit else f"{shown[: limit - 1]}…"
    return shown.replace("$", r"\$").replace("_", " _", 1) if shown.startswith("_") else shown.replace("$", r"\$")


@contextmanager
def report_style() -> Iterator[None]:
    """Draw all text and lines in the block in the few colours that the page replaces in dark mode."""
    inked = ("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor", "xtick.color", "ytick.color")
    with rc_context({**dict.fromkeys(inked, INK), "figure.facecolor": "none", "axes.facecolor": "none"}):
        yield


def tidy(axes: Axes) -> None:
    """Give axes the look of the report."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(AXIS)
    axes.tick_params(labelsize=10, colors=INK)
    axes.grid(visible=True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def grid_of(figure: Figure, count: int, columns: int, *, share_x: bool = False, share_y: bool = False) -> list[Axes]:
    """Return the axes of a figure, row by row; places that are left over stay empty."""
    rows = -(-count // columns)
    grid = list(figure.subplots(rows, columns, squeeze=False, sharex=share_x, sharey=share_y).flat)
    for unused in grid[count:]:
        unused.remove()
    return grid[:count]


def align(figures: Sequence[Figure]) -> None:
    """Give figures of one kind, each with one y scale of its own, a common scale; empty figures do not count."""
    limits = [figure.axes[0].get_ylim() for figure in figures if _has_data(figure)]
    if not limits:
        return
    for figure in figures:
        figure.axes[0].set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _has_data(figure: Figure) -> bool:
    return any(
        np.isfinite(np.asarray(line.get_ydata(), dtype=np.float64)).any() for axes in figure.axes for line in axes.lines
    )


def decades(grid: Sequence[Axes]) -> None:
    """Write the powers of ten of logarithmic y axes as plain text, which a browser can set in its own font."""
    for axes in grid:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"10{_raised(value)}"))


def _raised(value: float) -> str:
    return str(round(math.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    return buffer.getvalue()
