"""The theory page: one self-contained file, its figures beside it."""

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.plotting.page_style import STYLE
from rnnstudy.plotting.typeset import typeset
from rnnstudy.runs.folder import write_atomically
from rnnstudy.theory.topic import Topic

PAGE = "theory.html"


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RnnstudyError(f"'{folder}' cannot be written to: {error.strerror}.") from None


def make_folder(folder: Path) -> None:
    """Make the folder of a page, before anything is computed for it; raise RnnstudyError if that fails."""
    with _writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_page(folder: Path, title: str, topics: Sequence[Topic]) -> Path:
    """Write page and figures (PNG, SVG) to an existing folder; return the page's path or raise RnnstudyError."""
    files = {}
    for picture in (picture for topic in topics for picture in topic.pictures):
        files |= {f"{picture.name}.png": picture.png, f"{picture.name}.svg": picture.svg}
    files[PAGE] = render(title, topics).encode(errors="replace")
    with _writing_to(folder):
        for name, content in files.items():
            write_atomically(folder / name, content)
    return folder / PAGE


def render(title: str, topics: Sequence[Topic]) -> str:
    """Return the page as HTML, with styles and figures embedded."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["typeset"] = typeset
    environment.filters["data_uri"] = lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}"
    template = environment.from_string(Path(__file__).with_name("theory.html.j2").read_text(encoding="utf-8"))
    return template.render(title=title, topics=topics, style=STYLE)
