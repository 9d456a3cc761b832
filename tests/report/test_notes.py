"""What is said against a comparison: all of it on the page, the first of a kind in a terminal."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from tools.synthetic_runs import Synthetic, write_run

from rnnstudy.report.compare import Request, assemble, compare
from rnnstudy.report.tables.columns import Column
from rnnstudy.report.tables.text import markdown_table

pytestmark = pytest.mark.usefixtures("undrawn")


def test_the_page_names_every_damaged_run_and_the_terminal_the_first(tmp_path: Path) -> None:
    write_run(tmp_path / "sweep" / "good", Synthetic(replicas=1, probes=2))
    for number in range(8):
        (tmp_path / "sweep" / f"bad{number}").mkdir()
        (tmp_path / "sweep" / f"bad{number}" / "config.yaml").write_text("{}")
    gone = [tmp_path / f"gone{number}" for number in range(7)]
    request = Request(directories=(tmp_path / "sweep", *gone), output=tmp_path / "out")
    stream = io.StringIO()
    page = compare(request, Console(file=stream, width=500)).read_text()
    assert all(f"bad{number}: run.json is missing" in page for number in range(8))
    assert [f"bad{number}: run.json is missing" in stream.getvalue() for number in range(8)] == [True] * 5 + [False] * 3
    assert "Note: Not read: 3 more, all in report.html" in stream.getvalue()
    for folder in gone:
        assert f"Note: Not compared: There is no folder {folder}." in stream.getvalue()
        assert f"There is no folder {folder}." in page


def test_finished_runs_without_their_logs_are_named_also_where_they_are_one_row(tmp_path: Path) -> None:
    for seed, name in enumerate(("whole", "no metrics", "no curves")):
        write_run(tmp_path / name, Synthetic(replicas=1, probes=2, seed=seed))
    (tmp_path / "no metrics" / "metrics.jsonl").unlink()
    (tmp_path / "no curves" / "curves.jsonl").write_text("")
    notes = assemble(Request(directories=(tmp_path,))).notes
    assert [note for note in notes if note.startswith(("Nothing logged", "No gradients"))] == [
        "Nothing logged: no metrics has no metrics.jsonl, or an empty one",
        "No gradients: no curves has no curves.jsonl, or an empty one",
    ]


def test_control_characters_in_a_folders_name_do_not_reach_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[31mb\x07"
    write_run(folder / "r\x1b[2Jun", Synthetic(replicas=1, probes=2, finished=False))
    stream = io.StringIO()
    compare(Request(directories=(folder,)), Console(file=stream, width=300))
    assert all(letter.isprintable() or letter == "\n" for letter in stream.getvalue())
    assert "a\N{REPLACEMENT CHARACTER}[31mb" in stream.getvalue()


def test_with_markdown_all_but_the_tables_can_go_elsewhere(tmp_path: Path) -> None:
    write_run(tmp_path / "run", Synthetic(replicas=1, probes=2))
    tables, rest = io.StringIO(), io.StringIO()
    compare(Request(directories=(tmp_path,), markdown=True), Console(file=tables), Console(file=rest, width=300))
    assert tables.getvalue().rstrip("\n") == (tmp_path / "report" / "table.md").read_text().rstrip("\n")
    assert "Note: " in rest.getvalue()
    assert "Report: " in rest.getvalue()


def test_an_interval_in_markdown_has_no_second_pair_of_brackets() -> None:
    column = Column(header="x", meaning="", cells=(("-238", "[-588, +88]"), ("0.5", "0.2 to 0.9")))
    assert markdown_table([column]).splitlines()[2:] == [r"| -238 \[-588, +88\] |", "| 0.5 (0.2 to 0.9) |"]
