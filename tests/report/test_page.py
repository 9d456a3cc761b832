"""The report opened in a real browser."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from playwright.sync_api import Browser
from rich.console import Console
from tools.browser import assert_stands_alone, launched, needs_browser
from tools.synthetic_runs import Synthetic, write_run, write_sweep

from rnnstudy.report.compare import Request, compare

pytestmark = [pytest.mark.slow, needs_browser]


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("a study with spaces")
    write_sweep(folder)
    return compare(Request(directories=(folder,)), Console(quiet=True))


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


def test_figures_take_the_colours_of_the_scheme(browser: Browser, report: Path) -> None:
    fills = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(report.as_uri())
        fill = "all => all.map(text => getComputedStyle(text).fill)"
        fills.append(page.eval_on_selector_all('svg[role="img"] text', fill))
        page.close()
    light, dark = ([sum(int(part) for part in fill[4:-1].split(",")) for fill in each] for each in fills)
    assert len(light) == len(dark) > 100
    assert max(light) < 3 * 128 < min(dark)


def test_text_in_single_figures_can_be_read_on_a_phone(browser: Browser, report: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(report.as_uri())
    heights = page.eval_on_selector_all("svg text", "all => all.map(text => text.getBoundingClientRect().height)")
    page.close()
    assert min(heights) >= 8  # pixels, of the lines of text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_rows_are_cards_on_a_phone_and_rows_of_a_table_on_a_desk(browser: Browser, report: Path, scheme) -> None:
    for width in (390, 1400):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.goto(report.as_uri())
        for row in page.query_selector_all(".cards tbody tr"):
            cells = row.query_selector_all("td")
            boxes = [box for cell in cells if (box := cell.bounding_box())]
            lines = {round(box["y"]) for box in boxes}
            assert len(lines) > 3 if width < 641 else len(lines) == 1
            assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
            labels = [
                cell.evaluate("cell => [getComputedStyle(cell, '::before').content, cell.dataset.label]")
                for cell in cells[1:]
            ]
            assert all(shown == (f'"{label}"' if width < 641 else "none") for shown, label in labels)
        if width < 641:
            card, cell = page.locator(".cards tbody tr").first, page.locator(".cards td").nth(1)
            ground = card.evaluate("card => getComputedStyle(card).backgroundColor")
            ink = cell.evaluate("cell => getComputedStyle(cell).color")
            light, dark = (sum(map(int, colour[4:-1].split(","))) for colour in (ground, ink))
            assert (light > dark) == (scheme == "light")
            assert abs(light - dark) > 400
        page.close()


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1400, 900)])
def test_the_first_screen_is_the_verdict_and_the_overview(browser: Browser, report: Path, width, height) -> None:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(report.as_uri())
    sentences = [page.locator("main > p").nth(at).bounding_box() for at in (0, 1)]
    figure = page.locator("main svg[role=img]").first.bounding_box()
    assert figure is not None
    assert all(box is not None and box["y"] + box["height"] <= figure["y"] for box in sentences)
    assert figure["y"] + figure["height"] <= height
    page.close()


def test_hostile_names_run_nothing_and_load_nothing(browser: Browser, tmp_path: Path) -> None:
    hostile = [
        "<script>document.title='run'</script>",
        '"><img src=x onerror="document.title=1">',
        "</text></svg><svg onload=document.title=2>",
        "$x^{$",
        "_x",
        "a\nb]]>&amp;",
        "x" * 300,
    ]
    for number, name in enumerate(hostile):
        for mitigation in ((), (name,)):
            spec = Synthetic(model=name, mitigation=mitigation, replicas=5, probes=3, settings={"extra": name})
            write_run(tmp_path / f'{number}{len(mitigation)} "><b>#%41?', spec)
    path = compare(Request(directories=(tmp_path,)), Console(quiet=True))
    page = browser.new_page(viewport={"width": 390, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert page.title().startswith("Comparison of 14 runs")
    assert page.locator("main img, main script, main b, [onload], [onerror]").count() == 0
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    links = page.eval_on_selector_all("a", "links => links.map(link => link.href)")
    assert all(Path(url2pathname(urlsplit(link).path)).exists() for link in links)
    page.close()
