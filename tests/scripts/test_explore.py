"""The explorer, in a real browser."""

import hashlib
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tools import waiting
from tools.browser import launched, needs_browser

from rnnstudy.theory.measures.explorer import findings, measure

SCRIPT = Path(__file__).parents[2] / "scripts" / "explore.py"
PATIENCE = 1000 * waiting.PATIENCE  # milliseconds

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """One without the settings of whoever runs the tests."""
    home = str(tmp_path_factory.mktemp("home"))
    return {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "MARIMO_"))} | {"HOME": home}


@pytest.fixture(scope="module")
def address(environment, tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    command = [sys.executable, "-m", "marimo", "run", str(SCRIPT), "--headless", "--no-token"]
    with log.open("w") as output:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        waiting.until(lambda: answers(port), server)
        assert server.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=waiting.PATIENCE)
    assert not answers(port)


def answers(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, address: str):
    """The explorer, with everything drawn; at the end, all that it has asked for must have come from loopback."""
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    asked: list[str] = []
    failed: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("websocket", lambda websocket: asked.append(websocket.url))
    opened.on("pageerror", lambda error: failed.append(str(error)))
    opened.goto(address)
    expect(opened.get_by_role("img", name="Curve of the lecture notebook")).to_be_visible(timeout=PATIENCE)
    yield opened
    opened.close()
    elsewhere = [
        url for url in asked if urlsplit(url).hostname != "127.0.0.1" and not url.startswith(("data:", "blob:"))
    ]
    assert elsewhere == []
    assert any(url.startswith("ws:") for url in asked)
    assert failed == []


def picture(page: Page, name: str) -> str:
    """A fingerprint of the picture whose description starts so, once it is there."""
    image = page.get_by_role("img", name=name, exact=False)
    expect(image).to_be_visible(timeout=PATIENCE)
    data = image.evaluate("async image => Array.from(new Uint8Array(await (await fetch(image.src)).arrayBuffer()))")
    assert bytes(data[:8]) == b"\x89PNG\r\n\x1a\n"
    return hashlib.sha256(bytes(data)).hexdigest()


def card(page: Page, subject: str) -> Locator:
    return page.locator("section").filter(has_text=subject)


def slide(page: Page, label: str, presses: int) -> None:
    """Move a slider with the arrow keys, as a reader without a mouse would."""
    thumb = page.get_by_role("slider", name=label)
    thumb.focus()
    for _ in range(abs(presses)):
        thumb.press("ArrowRight" if presses > 0 else "ArrowLeft")


@needs_browser
def test_the_tangent_follows_the_point_and_the_activation(page: Page) -> None:
    before = picture(page, "sigmoid and its tangent at 2")
    slope = math.exp(-2) / (1 + math.exp(-2)) ** 2
    expect(card(page, "slope of sigmoid at x = 2")).to_contain_text(f"f'(x) = {slope:.4g}", timeout=PATIENCE)

    slide(page, "point x", 5)
    moved = picture(page, "sigmoid and its tangent at 2.5")
    slope = math.exp(-2.5) / (1 + math.exp(-2.5)) ** 2
    expect(card(page, "slope of sigmoid at x = 2.5")).to_contain_text(f"f'(x) = {slope:.4g}", timeout=PATIENCE)
    expect(card(page, "the most that sigmoid can have")).to_contain_text("γ = 0.25")

    page.get_by_label("activation f").select_option("tanh")
    other = picture(page, "tanh and its tangent at 2.5")
    slope = 1 - math.tanh(2.5) ** 2
    expect(card(page, "slope of tanh at x = 2.5")).to_contain_text(f"f'(x) = {slope:.4g}", timeout=PATIENCE)
    expect(card(page, "the most that tanh can have")).to_contain_text("γ = 1")
    assert len({before, moved, other}) == 3


@needs_browser
def test_the_product_follows_network_radius_length_and_seed(page: Page) -> None:
    def shows(name: str, *, radius: float, seq_len: int, seed: int) -> str:
        found = findings(measure(name, radius=radius, seq_len=seq_len, seed=seed))
        for each in found:
            subject = each.subject.replace("_", "").replace("gamma", "γ")
            expect(card(page, subject)).to_contain_text(each.figure.replace("^", ""), timeout=PATIENCE)
            expect(card(page, subject)).to_contain_text(each.verdict)
        return picture(page, f"Norm of the Jacobian product at every time step: {name}, spectral radius {radius:g}")

    pictures = [shows("RNN, tanh", radius=0.9, seq_len=50, seed=0)]
    slide(page, "spectral radius", -2)
    pictures.append(shows("RNN, tanh", radius=0.7, seq_len=50, seed=0))
    slide(page, "time steps", 2)
    pictures.append(shows("RNN, tanh", radius=0.7, seq_len=60, seed=0))
    slide(page, "seed", 1)
    pictures.append(shows("RNN, tanh", radius=0.7, seq_len=60, seed=1))
    page.get_by_label("network", exact=True).select_option("RNN, sigmoid")
    pictures.append(shows("RNN, sigmoid", radius=0.7, seq_len=60, seed=1))
    page.get_by_label("network", exact=True).select_option("LSTM, cell state c")
    pictures.append(shows("LSTM, cell state c", radius=0.7, seq_len=60, seed=1))
    expect(card(page, "largest |eigenvalue| of Whh, times γ")).to_have_count(0)
    assert len(set(pictures)) == len(pictures)


@needs_browser
def test_the_notebooks_first_value_and_the_truth_stand_side_by_side(page: Page) -> None:
    expect(card(page, "at k = 1")).to_contain_text("The notebook's curve has 1.30439e-14 there")
    expect(card(page, "at k = 1")).to_contain_text("5.38e-14")


@needs_browser
def test_it_fits_a_phone_and_a_desk(page: Page) -> None:
    right = "Math.max(...[...document.querySelectorAll('img, section, h1')].map(e => e.getBoundingClientRect().right))"
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(f"{right} <= {width}", timeout=PATIENCE)
        page.wait_for_function(f"document.documentElement.scrollWidth <= {width}", timeout=PATIENCE)


def test_it_runs_as_a_plain_script(tmp_path: Path, environment) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", SCRIPT],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=waiting.PATIENCE,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []
