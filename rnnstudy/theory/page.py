"""The theory page: one self-contained file, its figures beside it."""

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.plotting.page_style import STYLE
from rnnstudy.plotting.typeset import typeset
from rnnstudy.runs.folder import write_atomically
from rnnstudy.theory.section import Section

PAGE = "theory.html"


def make_folder(folder: Path) -> None:
    """Make the folder of a page, before anything is computed for it.

    Raises:
        RnnstudyError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RnnstudyError(f"'{folder}' cannot be written to: {error.strerror}.") from None


def write_page(folder: Path, title: str, sections: Sequence[Section]) -> Path:
    """Write the page, and every figure as PNG and SVG.

    Args:
        folder: Where to; it must exist.
        title: What was looked at.
        sections: In their order.

    Returns:
        The page.

    Raises:
        RnnstudyError: The folder cannot be written to.
    """
    page = folder / PAGE
    try:
        for picture in (picture for section in sections for picture in section.pictures):
            write_atomically(folder / f"{picture.name}.png", picture.png)
            write_atomically(folder / f"{picture.name}.svg", picture.svg)
        write_atomically(page, render(title, sections).encode(errors="replace"))
    except OSError as error:
        raise RnnstudyError(f"'{folder}' cannot be written to: {error.strerror}.") from None
    return page


def render(title: str, sections: Sequence[Section]) -> str:
    """The page as HTML, with styles and figures inside."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["typeset"] = typeset
    environment.filters["data_uri"] = lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}"
    template = environment.from_string(Path(__file__).with_name("theory.html.j2").read_text(encoding="utf-8"))
    return template.render(title=title, sections=sections, style=STYLE)
