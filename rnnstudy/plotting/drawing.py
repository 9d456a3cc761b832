"""A finished figure: for the page, and as files for papers."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from rnnstudy.plotting.inline_svg import to_inline
from rnnstudy.plotting.style import DPI, to_png


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A finished figure.

    Args:
        file: Name of its files, without ending.
        png: Image on white.
        svg: Image without background; text is text, so that it can be edited.
        inline: An `svg` element that takes the page's font and colours.
        alt: Description in words.
        pixels_wide: Width of the PNG.
    """

    file: str
    png: bytes
    svg: bytes
    inline: Markup
    alt: str
    pixels_wide: int


def render_figure(figure: Figure, *, file: str, alt: str) -> Drawing:
    """Return a drawn figure in all three forms; the same figure gives the same bytes. `file` is unique in a page."""
    if (layout := figure.get_layout_engine()) is not None:
        # Once for all files: it takes longer than drawing.
        layout.execute(figure)
        figure.set_layout_engine("none")
        figure.set_layout_engine(None)  # even an engine that does nothing has every figure drawn twice
    png, svg = to_png(figure), io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": file}):
        figure.savefig(svg, format="svg", metadata={"Date": None}, facecolor="none")
    return Drawing(
        file=file,
        png=png,
        svg=svg.getvalue(),
        inline=to_inline(svg.getvalue(), name=file, alt=alt, inches_wide=float(figure.get_figwidth())),
        alt=alt,
        pixels_wide=round(figure.get_figwidth() * DPI),
    )


def render_pages(figures: Sequence[Figure], *, file: str, alt: str) -> list[Drawing]:
    """Return the drawings of one subject; the second and later ones have their number in the file name."""
    return [
        render_figure(figure, file=file if number == 1 else f"{file}_{number}", alt=alt)
        for number, figure in enumerate(figures, start=1)
    ]
