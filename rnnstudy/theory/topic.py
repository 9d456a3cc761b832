"""Topics of the theory page: text, tables, figures."""

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
        rows: Rows, each as long as the header.
        caption: Warning about what is easily misread; empty for none.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure, drawn when it is first needed, as drawing takes longer than computing all the numbers.

    Args:
        name: Name of its file, without the extension.
        alt: Description in words.
        draw: Function that draws it.
    """

    name: str
    alt: str
    draw: Callable[[], Figure]

    @cached_property
    def _rendered(self) -> tuple[bytes, bytes, int]:
        figure, png, svg = self.draw(), io.BytesIO(), io.BytesIO()
        if (layout := figure.get_layout_engine()) is not None:
            # Once for both files, as it takes longer than drawing.
            layout.execute(figure)
            figure.set_layout_engine("none")
        figure.savefig(png, format="png", dpi=DPI, facecolor="white")
        # Without the date the same run gives the same bytes.
        figure.savefig(svg, format="svg", metadata={"Date": None})
        return png.getvalue(), svg.getvalue(), round(figure.get_figwidth() * DPI)

    @property
    def png(self) -> bytes:
        """PNG for the page and for a file."""
        return self._rendered[0]

    @property
    def svg(self) -> bytes:
        """SVG file for papers."""
        return self._rendered[1]

    @property
    def pixels_wide(self) -> int:
        """Width of the PNG, in pixels."""
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
