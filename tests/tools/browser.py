"""A real browser, headless, for the pages."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="needs a Chromium on this machine (Debian: apt-get install chromium)"
)


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser with a fresh profile, closed at the end."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def assert_stands_alone(browser: Browser, file: Path, width: int, scheme: Literal["light", "dark"]) -> None:
    """A page asks for nothing but itself, fits the screen's width, and has the colours of the scheme."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(file.as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    pictures = page.eval_on_selector_all("img", "images => images.map(image => [image.naturalWidth, image.alt])")
    pictures += page.eval_on_selector_all(
        'svg[role="img"]', "all => all.map(svg => [svg.getBoundingClientRect().width, svg.getAttribute('aria-label')])"
    )
    assert len(pictures) >= 4
    assert all(natural > 0 and text for natural, text in pictures)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background, text = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    brightness = [sum(int(part) for part in colour[4:-1].split(",")[:3]) for colour in (background, text)]
    assert (brightness[0] > brightness[1]) == (scheme == "light")
    page.close()
