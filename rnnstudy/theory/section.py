"""What a part of the theory page is made of: words, tables, figures."""

import io
from dataclasses import dataclass

from matplotlib.figure import Figure

from rnnstudy.plotting.style import DPI


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under a header, printed in the terminal and on the page.

    Args:
        title: One line.
        header: Names of the columns.
        rows: As long as the header, each.
        caption: What is easily misread; empty for nothing.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A finished figure.

    Args:
        name: Of its file, without ending.
        png: For the page, and its own file.
        svg: For papers, its own file.
        alt: What it shows, in words.
        pixels_wide: Of the PNG.
    """

    name: str
    png: bytes
    svg: bytes
    alt: str
    pixels_wide: int


@dataclass(frozen=True, kw_only=True)
class Section:
    """One subject of the theory page.

    Args:
        title: The heading.
        text: Paragraphs.
        tables: In their order.
        pictures: In their order.
    """

    title: str
    text: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()


def picture(figure: Figure, name: str, alt: str) -> Picture:
    """Render a figure.

    Args:
        figure: Drawn.
        name: Of its file, without ending.
        alt: What it shows, in words.

    Returns:
        The picture.
    """
    png, svg = io.BytesIO(), io.BytesIO()
    if (layout := figure.get_layout_engine()) is not None:
        # Once for both files: it takes longer than drawing.
        layout.execute(figure)
        figure.set_layout_engine("none")
    figure.savefig(png, format="png", dpi=DPI, facecolor="white")
    # Without the date the same run gives the same bytes.
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return Picture(
        name=name, png=png.getvalue(), svg=svg.getvalue(), alt=alt, pixels_wide=round(figure.get_figwidth() * DPI)
    )
