"""Names from a stranger's folder are text: on pages, in a browser, in a terminal and in a spreadsheet."""

import csv
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from tools.browser import launched, needs_browser
from tools.members import run_small
from tools.synthetic_runs import Synthetic, edit_config, edit_json, write_run
from typing_extensions import override

from rnnstudy.cli.board.links import BoardView
from rnnstudy.cli.board.pages import THROUGH_TIME, with_short_addresses
from rnnstudy.report.compare import Request, compare
from rnnstudy.report.tables.tidy import to_csv
from rnnstudy.theory.page import render
from rnnstudy.theory.topic import Table, Topic

SCRIPT = '</script></style></title><script>alert(1)</script><img src=x onerror="alert(2)">'
ATTRIBUTE = "\"'><svg onload=alert(3)><a href='javascript:alert(4)'>$\\frac{"
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202ename\r\nname"
FORMULA = '=HYPERLINK("http://example.com","name")'


def hostile_runs(root: Path) -> Path:
    """Runs of which every text that a stranger can choose is hostile."""
    texts = [SCRIPT, ATTRIBUTE, ESCAPES, FORMULA]
    for number, text in enumerate(texts):
        spec = Synthetic(model=f"lstm{number}", mitigation=["clip_norm"] if number else [], replicas=4, num_steps=200)
        run = write_run(root / f"{text.replace('/', '')[:60]}{number}", spec)
        choices = {"task": text, "model": text, "init": [text], "mitigation": [text] if number else []}
        edit_config(run, choices=choices, train={"num_steps": 200, text: text}, device=text)
        edit_json(run / "run.json", device=text, name=text)
        manifest = json.loads((run / "run.json").read_text())
        edit_json(run / "run.json", facts=manifest["facts"] | {"solved_metric": text, "solved_when": text})
        result = json.loads((run / "result.json").read_text())
        edit_json(run / "result.json", final=result["final"] | {f"{text}/active": [0.5] * 4})
        lines = (run / "metrics.jsonl").read_text().splitlines()
        lines[0] = json.dumps(json.loads(lines[0]) | {f"{text}/active": 0.5})
        (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    bad = root / f"{ESCAPES.replace('/', '')}{SCRIPT.replace('/', '')[:40]} bad"
    bad.mkdir()
    (bad / "config.yaml").write_text("a: [")
    # A name that is no UTF-8.
    write_run(root / "bytes", Synthetic(replicas=4, num_steps=200)).rename(root / "bytes \udcff")
    return root


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> tuple[Path, str, str]:
    """The page, and what was printed: as tables and as Markdown."""
    root = hostile_runs(tmp_path_factory.mktemp("hostile"))
    printed = []
    for markdown in (False, True):
        file = io.StringIO()
        page = compare(Request(directories=(root,), markdown=markdown), Console(file=file, width=200))
        printed.append(file.getvalue())
    return page, *printed


class Elements(HTMLParser):
    """What a browser would make of a page: names of elements, and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()

    @override
    def handle_starttag(self, tag, attrs) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value for name, value in attrs if name == "href" and value}


def assert_inert(text: str) -> None:
    page = Elements()
    page.feed(text)
    assert not page.found & {"script", "iframe", "object", "embed", "base", "form", "foreignobject"}
    assert not [name for name in page.attributes if name.startswith("on")]
    for link in page.links:
        # Heatmaps are pictures within the figure.
        assert ":" not in link or link.startswith("data:image/png;base64,")


@pytest.mark.slow
def test_a_report_of_hostile_runs_has_no_element_of_theirs(report):
    text = report[0].read_text()
    assert text.count("&lt;script&gt;alert(1)") >= 3
    assert_inert(text)
    for figure in report[0].parent.glob("*.svg"):
        assert_inert(figure.read_text())


@needs_browser
@pytest.mark.slow
def test_a_browser_runs_nothing_in_a_report_of_hostile_runs(report):
    dialogs: list[str] = []
    asked: list[str] = []

    def refuse(dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    def note(request) -> None:
        asked.append(request.url)

    with launched() as browser:
        for file in (report[0], *report[0].parent.glob("*.svg")):
            page = browser.new_page()
            page.on("dialog", refuse)
            page.on("request", note)
            page.goto(file.as_uri())
            page.evaluate("new Promise(done => setTimeout(done))")
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
            assert page.evaluate("document.scripts.length") == 0
            page.close()
    assert dialogs == []


@pytest.mark.slow
def test_a_terminal_is_sent_no_command_by_hostile_runs(report):
    for printed in report[1:]:
        assert "\N{REPLACEMENT CHARACTER}" in printed
        assert all(sign.isprintable() or sign == "\n" for sign in printed)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["table.csv", "runs.csv"])
def test_a_spreadsheet_finds_no_formula_in_the_tables_of_hostile_runs(report, file):
    cells = [cell for row in csv.reader(io.StringIO((report[0].parent / file).read_text())) for cell in row]
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    for cell in cells:
        if cell.startswith(("=", "+", "-", "@", "\t", "\r")):
            float(cell)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", " =1", "\t=1", "\r=1", "\N{FULLWIDTH EQUALS SIGN}1"]
)
def test_text_that_begins_like_a_formula_gets_a_quote_in_cells_and_headers(text):
    header, cell = csv.reader(io.StringIO(to_csv([{text: text}])))
    assert header == cell == [f"'{' '.join(text.splitlines())}"]


@pytest.mark.parametrize("value", ["-1.5", "+1e-3", "-inf", "lstm", "a=b", "", -1.5, None])
def test_numbers_and_words_stay_as_they_are(value):
    _, cell = csv.reader(io.StringIO(to_csv([{"a": 1, "b": value}])))
    assert cell == ["1", "" if value is None else str(value)]


def test_the_page_of_theory_has_no_element_of_a_name():
    table = Table(title=SCRIPT, header=(ATTRIBUTE,), rows=((SCRIPT,),), caption=ATTRIBUTE)
    assert_inert(render(SCRIPT, [Topic(title=SCRIPT, text=(ATTRIBUTE,), tables=(table,), pictures=())]))


@pytest.mark.slow
def test_theory_on_a_hostile_name_sends_no_command_to_the_terminal(tmp_path):
    from rnnstudy.theory.explain import Question, explain

    folder = run_small(tmp_path / f"{ESCAPES}{SCRIPT.replace('/', '')}")
    folder.config.write_text(folder.config.read_text().replace("model: lstm", f"model: {json.dumps(ESCAPES + SCRIPT)}"))
    printed = io.StringIO()
    console = Console(file=printed, width=100)
    page = explain(Question(run=folder.path, out=tmp_path / "out"), console)
    assert all(sign.isprintable() or sign == "\n" for sign in printed.getvalue())
    assert_inert(page.read_text())


def test_the_pages_that_lead_to_tensorboard_hold_no_script_of_a_name(tmp_path):
    # So many that the page names them: their sub-runs do not fit on it, and end at different steps.
    for number in range(7):
        run = tmp_path / "runs" / f"run_{number:08x}"
        for folder in (run, run / "at_step_0", run / f"at_step_{number + 1}"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "events.out.tfevents.1").touch()
        (run / "run.json").write_text(json.dumps({"name": f"{SCRIPT}{ATTRIBUTE} {number}"}))
    (tmp_path / "view").mkdir()
    application = with_short_addresses(lambda environ, start: [], BoardView(tmp_path / "runs", tmp_path / "view", 100))
    for path in ("/", THROUGH_TIME):
        (page,) = application({"PATH_INFO": path}, lambda *_: None)
        assert page.count(b"<script") == page.count(b"</script") == 1
        assert b"alert(" not in page
        assert (b"alert%5C%5C%28" in page or b"alert%5C%28" in page) == (path == THROUGH_TIME)
