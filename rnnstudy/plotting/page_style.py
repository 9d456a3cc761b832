"""The style sheet of all pages."""

from pathlib import Path

from markupsafe import Markup

STYLE = Markup(Path(__file__).with_name("page.css").read_text(encoding="utf-8"))
"""Styles of the project's pages, for embedding in a page."""
