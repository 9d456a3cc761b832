"""The report opened in a real browser."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from tools.synthetic_runs import write_sweep

from rnnstudy.report.compare import compare

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium on this machine (Debian: apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("a study with spaces")
    write_sweep(folder)
    return compare(folder, Console(quiet=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_needs_no_network_and_fits_the_screen(browser: Browser, report: Path, width: int, scheme) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(report.as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
    pictures = page.eval_on_selector_all("img", "images => images.map(image => [image.naturalWidth, image.alt])")
    assert len(pictures) >= 4
    assert all(natural > 0 and text for natural, text in pictures)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background, text = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    brightness = [sum(int(part) for part in colour[4:-1].split(",")[:3]) for colour in (background, text)]
    assert (brightness[0] > brightness[1]) == (scheme == "light")
    page.close()


def test_the_links_lead_to_the_run_folders(browser: Browser, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    links = page.eval_on_selector_all("a", "links => links.map(link => link.href)")
    page.close()
    targets = [Path(url2pathname(urlsplit(link).path)) for link in links]
    assert len(targets) >= 6
    assert all(target.exists() for target in targets)
    assert any((target / "config.yaml").exists() for target in targets)
