"""Topics of the theory page: words, tables, figures."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

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
    rows: Sequence[tuple[str, ...]]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure, drawn when it is first needed: that takes longer than all the numbers.

    Args:
        name: Name of its file, without ending.
        alt: What it shows, in words.
        draw: Draws it.
    """

    name: str
    alt: str
    draw: Callable[[], Figure]

    @cached_property
    def _rendered(self) -> tuple[bytes, bytes, int]:
        figure, png, svg = self.draw(), io.BytesIO(), io.BytesIO()
        if (layout := figure.get_layout_engine()) is not None:
            # Once for both files: it takes longer than drawing.
            layout.execute(figure)
            figure.set_layout_engine("none")
        figure.savefig(png, format="png", dpi=DPI, facecolor="white")
        # Without the date the same run gives the same bytes.
        figure.savefig(svg, format="svg", metadata={"Date": None})
        return png.getvalue(), svg.getvalue(), round(figure.get_figwidth() * DPI)

    @property
    def png(self) -> bytes:
        """PNG for the page, and a file of its own."""
        return self._rendered[0]

    @property
    def svg(self) -> bytes:
        """SVG for papers, a file of its own."""
        return self._rendered[1]

    @property
    def pixels_wide(self) -> int:
        """Width of the PNG."""
        return self._rendered[2]


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One section of the theory page.

    Args:
        title: The heading.
        text: Paragraphs.
        tables: Tables in their order.
        pictures: Pictures in their order.
    """

    title: str
    text: Sequence[str]
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
