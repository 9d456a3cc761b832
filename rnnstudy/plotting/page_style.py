"""The style sheet of all pages."""

from pathlib import Path

from markupsafe import Markup

STYLE = Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8"))
"""The look of the project's pages, to stand in a page itself."""
