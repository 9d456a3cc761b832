"""The report opened in a real browser."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from playwright.sync_api import Browser
from rich.console import Console
from tools.browser import assert_stands_alone, launched, needs_browser
from tools.synthetic_runs import write_sweep

from rnnstudy.report.compare import compare

pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("a study with spaces")
    write_sweep(folder)
    return compare(folder, Console(quiet=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_needs_no_network_and_fits_the_screen(browser: Browser, report: Path, width: int, scheme) -> None:
    assert_stands_alone(browser, report, width, scheme)


def test_the_links_lead_to_the_run_folders(browser: Browser, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    links = page.eval_on_selector_all("a", "links => links.map(link => link.href)")
    page.close()
    targets = [Path(url2pathname(urlsplit(link).path)) for link in links]
    assert len(targets) >= 6
    assert all(target.exists() for target in targets)
    assert any((target / "config.yaml").exists() for target in targets)
