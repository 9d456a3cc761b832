"""What can be chosen of a comparison, and the tables that come of it."""

import csv
import gc
import io
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import binomtest
from tools.synthetic_runs import LAGS, Synthetic, edit_json, read_json, write_many, write_run

from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.report.analysis.naming import NamedRun
from rnnstudy.report.analysis.summary import Logs
from rnnstudy.report.compare import Request, assemble, compare, report_folder, table_files
from rnnstudy.report.contents import Contents
from rnnstudy.report.show import show_tables
from rnnstudy.report.tables.columns import Column
from rnnstudy.report.tables.text import fit_width, markdown_table, terminal_table
from rnnstudy.runs.run import Run

SMALL = {"num_steps": 100, "probes": 2, "extra_tags": 0}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """Two models, with and without a mitigation, at three lags."""
    root = tmp_path_factory.mktemp("x") / "a sweep"
    for model in ("rnn", "lstm"):
        for mitigation in ((), ("clip_norm",)):
            for lag in (9, 20, 100):
                spec = Synthetic(
                    model=model, mitigation=mitigation, replicas=5, probes=2, settings={"task": {"lag": lag}}
                )
                write_run(root / "-".join([model, *mitigation, str(lag)]), spec)
    return root


def contents_of(sweep: Path, **given: Any) -> Contents:
    return assemble(Request(directories=(sweep,), **given))


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def printed(contents: Contents, *, width: int = 300) -> str:
    stream = io.StringIO()
    show_tables(contents, Console(file=stream, width=width))
    return stream.getvalue()


def test_what_is_shown_holds_figures_of_the_runs_and_no_run(sweep: Path) -> None:
    contents = contents_of(sweep)
    seen: set[int] = set()
    left: list[object] = [contents, contents.verdicts, contents.table, contents.paired]
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, type | ModuleType):
            continue
        seen.add(id(each))
        assert not isinstance(each, Run | NamedRun)
        left += gc.get_referents(each)
    assert id(contents.drawn[0].logs.loss) in seen
    assert contents.verdicts is contents.verdicts


def test_chosen_sorted_and_grouped(sweep: Path) -> None:
    contents = contents_of(sweep, where=("lag=9,100",), sort=("mitigation:desc",), group_by=("lag", "model"))
    assert [group.title for group in contents.groups] == [
        f"lag={lag}, model={model}" for lag in (9, 100) for model in ("lstm", "rnn")
    ]
    for group in contents.groups:
        assert [each.mitigation for each in group.summaries] == ["none", "clip_norm"]
    assert len(contents.summaries) == 8
    assert [each.path for each in contents.drawn] == [each.path for each in contents.summaries]
    assert contents.folder == sweep / "report"
    assert contents.title == "Comparison of 8 runs: a sweep"


def test_names_say_what_differs_between_the_chosen_runs_only(sweep: Path) -> None:
    contents = contents_of(sweep, where=("lag=9", "model=rnn"))
    assert [each.name for each in contents.summaries] == ["rnn", "rnn + clip_norm"]


def test_the_default_baseline_is_no_mitigation(sweep: Path) -> None:
    contents = contents_of(sweep)
    assert contents.baseline == "mitigation=[]"
    pairs = {(each.summary.label, each.baseline.label) for each in contents.comparisons}
    assert pairs == {(f"{m}-clip_norm-{lag}", f"{m}-{lag}") for m in ("rnn", "lstm") for lag in (9, 20, 100)}
    assert all(each.pairs == 5 for each in contents.comparisons)


def test_the_baseline_can_be_chosen(sweep: Path) -> None:
    contents = contents_of(sweep, baseline=("model=lstm",))
    assert contents.baseline == "model=lstm"
    assert {each.summary.model for each in contents.comparisons} == {"rnn"}
    assert len(contents.comparisons) == 6


def test_without_a_baseline_it_is_said_how_to_choose_one(sweep: Path) -> None:
    contents = contents_of(sweep, where=("mitigation=[]",))
    assert contents.baseline == ""
    assert contents.comparisons == ()
    (advice,) = (note for note in contents.notes if note.startswith("Nothing is compared in pairs"))
    example = re.fullmatch(r"Nothing is compared in pairs: choose a baseline, say --baseline (\S+)\.", advice)
    assert example is not None
    # What it says can be done.
    assert contents_of(sweep, where=("mitigation=[]",), baseline=(example[1],)).comparisons
    alone = contents_of(sweep, where=("mitigation=[]", "lag=9", "model=rnn"))
    assert not any("Nothing is compared" in note for note in alone.notes)


def test_conditions_that_exclude_each_other_leave_nothing(sweep: Path, tmp_path: Path) -> None:
    for model, lag in (("rnn", 1), ("gru", 2)):
        write_run(tmp_path / model, Synthetic(model=model, replicas=1, probes=2, settings={"task": {"lag": lag}}))
    with pytest.raises(ConfigError, match="No run meets --where lag=1 and model=gru"):
        contents_of(tmp_path, where=("lag=1", "model=gru"))


def test_runs_of_different_tasks_get_sections_of_their_own_and_no_pairs_across(tmp_path: Path) -> None:
    for task in ("adding", "latch"):
        for mitigation in ((), ("clip_norm",)) if task == "adding" else ((), ("omega",)):
            choices = {"task": task, "model": "rnn", "mitigation": list(mitigation)}
            spec = Synthetic(mitigation=mitigation, replicas=5, probes=2, settings={"choices": choices})
            write_run(tmp_path / "-".join([task, *mitigation]), spec)
    contents = contents_of(tmp_path)
    assert [group.title for group in contents.groups] == ["task=adding", "task=latch"]
    pairs = {(each.summary.label, each.baseline.label) for each in contents.comparisons}
    assert pairs == {("adding-clip_norm", "adding"), ("latch-omega", "latch")}
    assert "The runs are of 2 tasks, adding, latch: compare within one task only." in contents.notes


def test_the_same_configuration_twice_is_told(sweep: Path) -> None:
    contents = assemble(Request(directories=(sweep / "rnn-9", sweep / "rnn-20", sweep / "rnn-9")))
    assert len(contents.summaries) == 2
    assert not any("same configuration" in note for note in contents.notes)


def test_a_copy_of_a_run_is_told(tmp_path: Path) -> None:
    for place in ("first/run", "second/run"):
        write_run(tmp_path / place, Synthetic(replicas=5, probes=2))
    contents = assemble(Request(directories=(tmp_path / "first", tmp_path / "second")))
    assert "lstm: 5 networks trained in more than one of its 2 runs; each counts once" in contents.notes
    assert contents.folder == tmp_path / "report"


def test_mismatched_seeds_are_told_of_both_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "base", Synthetic(replicas=8, probes=2, seed=0))
    write_run(tmp_path / "clip", Synthetic(replicas=8, probes=2, seed=4, mitigation=["clip_norm"]))
    contents = contents_of(tmp_path)
    (comparison,) = contents.comparisons
    assert comparison.pairs == 4
    (note,) = [note for note in contents.notes if "4 pairs" in note]
    assert note.startswith("lstm + clip_norm has seeds 4 to 11, its baseline lstm seeds 0 to 7")


def test_the_report_goes_where_it_is_asked_for(sweep: Path, tmp_path: Path) -> None:
    one = sweep / "rnn-9"
    assert report_folder(Request(directories=(one,))) == one / "report"
    assert report_folder(Request(directories=(one, sweep / "lstm-9"))) == sweep / "report"
    assert report_folder(Request(directories=(one,), output=tmp_path / "x")) == tmp_path / "x"
    with pytest.raises(ConfigError, match="--output"):
        report_folder(Request(directories=(Path("/etc"), tmp_path)))


def test_a_report_elsewhere_leaves_the_sweep_alone_and_drops_what_an_earlier_one_left(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "run", Synthetic(replicas=2, probes=2))
    output = tmp_path / "deep" / "er"
    output.mkdir(parents=True)
    for stale in ("grad_norm_by_lag.png", "solved.png", "comparisons.csv", "loss_2.svg"):
        (output / stale).write_text("old")
    (output / "mine.txt").write_text("kept")
    (run / "curves.jsonl").unlink()
    compare(Request(directories=(tmp_path / "runs",), output=output), Console(quiet=True))
    assert not (tmp_path / "runs" / "report").exists()
    names = {path.name for path in output.iterdir()}
    assert {"report.html", "table.csv", "runs.csv", "table.md", "mine.txt", "loss.png", "loss.svg"} <= names
    assert names.isdisjoint({"grad_norm_by_lag.png", "comparisons.csv", "loss_2.svg", "heatmaps.png"})
    assert not [name for name in names if name.endswith(".part")]


def test_the_table_of_runs_against_the_files(sweep: Path) -> None:
    files = table_files(contents_of(sweep))
    rows = rows_of(files["runs.csv"])
    assert len(rows) == 12
    for row in rows:
        result = read_json(sweep / row["folder"] / "result.json")
        solved = result["status"].count("solved")
        interval = binomtest(solved, 5).proportion_ci(method="wilson")
        losses = result["final"]["eval/loss"]
        assert int(row["replicas"]) == 5
        assert row["state"] == "finished"
        assert int(row["run_solved"]) == solved
        assert [float(row["run_solved_low"]), float(row["run_solved_high"])] == pytest.approx(
            [interval.low, interval.high]
        )
        found = [float(row[f"eval_loss_{which}"]) for which in ("median", "min", "max")]
        assert found == [np.median(losses), min(losses), max(losses)]
        assert float(row["decay_median"]) == np.median(result["final"]["horizon/h/layer_0/decay"])
        assert row["task.lag"] == row["folder"].rpartition("-")[2]
    comparisons = rows_of(files["comparisons.csv"])
    assert {row["baseline_folder"] for row in comparisons} == {
        f"{m}-{n}" for m in ("rnn", "lstm") for n in (9, 20, 100)
    }


def test_the_tables_as_markdown(sweep: Path) -> None:
    lines = table_files(contents_of(sweep, group_by=("lag",)))["table.md"].splitlines()
    assert lines[0] == "**lag=9**"
    assert lines[2].startswith("| run | lag | steps | verdict | loss |")
    assert set(lines[3]) <= set("| -:")
    assert len([line for line in lines if line.startswith("| ")]) == 3 * (2 + 4) + 2 + 6 + 2 + 4
    assert len({line.count("|") for line in lines[2:8]}) == 1
    assert r"**Compared with mitigation=\[\]**" in lines


@pytest.mark.usefixtures("undrawn")
def test_markdown_is_printed_in_place_of_the_table(tmp_path: Path) -> None:
    write_run(tmp_path / "run", Synthetic(replicas=1, probes=2))
    stream = io.StringIO()
    compare(Request(directories=(tmp_path,), markdown=True), Console(file=stream, width=40))
    assert stream.getvalue().startswith((tmp_path / "report" / "table.md").read_text())


def test_text_in_markdown_is_escaped() -> None:
    hostile = ["a|b", "*x*", "_y_", "<b>", "`z`", "[l](u)", "$m$", "two\nlines", "back\\slash"]
    column = Column(header="a|b", meaning="", cells=tuple((text, text) for text in hostile))
    lines = markdown_table([column]).splitlines()
    assert len(lines) == 2 + len(hostile)
    for line in lines:
        assert len(re.findall(r"(?<!\\)\|", line)) == 2
        assert not re.search(r"(?<!\\)[*_<>`\[\]$]", line)
    assert "| two lines (two, lines) |" in lines


def test_a_terminal_shows_a_few_rows_and_where_the_rest_is(tmp_path: Path) -> None:
    write_many(tmp_path, 60, **SMALL)
    few = contents_of(tmp_path, where=("mitigation=[],[clip_norm]",))
    assert "more rows" not in printed(few)
    every = contents_of(tmp_path, group_by=("lag",))
    shown = printed(every)
    assert f"and 20 more rows: {tmp_path / 'report' / 'runs.csv'}" in shown
    assert len(re.findall("baseline|at the limit", shown.partition("more rows")[0])) == 40
    assert "and 5 more rows" in shown  # of 45 comparisons


def test_columns_that_can_be_missed_make_room() -> None:
    ranks = {"run": 0, "solved": 0, "decay": 1, "time": 2}
    columns = [Column(header=name, meaning="", cells=(("x" * 10, ""),), rank=rank) for name, rank in ranks.items()]
    names = [column.header for column in columns]
    for width, kept, dropped in ((49, names, []), (48, names[:3], ["time"]), (5, names[:2], ["time", "decay"])):
        left, missing = fit_width(columns, width)
        assert [column.header for column in left] == kept
        assert missing == dropped
    assert columns[0].rows(0, 0).cells == ()


def test_names_with_markup_are_printed_as_they_are() -> None:
    stream = io.StringIO()
    column = Column(header="[bold]h", meaning="", cells=(("[red]x[/red]", "[/]"),))
    Console(file=stream, width=80).print(terminal_table([column], title="[u]t"))
    for text in ("[bold]h", "[red]x[/red]", "[/]", "[u]t"):
        assert text in stream.getvalue()


def test_a_run_with_a_corrupt_log_among_very_many_is_compared_but_not_drawn(tmp_path: Path) -> None:
    write_many(tmp_path, 220, **SMALL)
    first = sorted(tmp_path.glob("gru_lag=19_*"))[0]
    (first / "curves.jsonl").unlink()
    (first / "curves.jsonl").write_text("nonsense\n")
    contents = contents_of(tmp_path)
    assert len(contents.summaries) == 220
    assert 0 < len(contents.drawn) <= 60
    assert all(each.logs == Logs() for each in contents.summaries)  # those that are drawn hold theirs
    assert first.name not in {each.label for each in contents.drawn}
    assert any(note.startswith(f"Not drawn: {first.name}: corrupt: curves.jsonl, line 1") for note in contents.notes)


@pytest.mark.slow
def test_a_thousand_runs_are_all_compared(tmp_path: Path) -> None:
    write_many(tmp_path, 1000)
    compare(Request(directories=(tmp_path,)), Console(quiet=True))
    files = {path.name: path.read_text() for path in (tmp_path / "report").glob("*.csv")}
    rows = rows_of(files["runs.csv"])
    assert len(rows) == len({row["run"] for row in rows}) == 1000
    assert {int(row["task.lag"]) for row in rows} == set(LAGS)
    results = {path.parent.name: read_json(path) for path in tmp_path.glob("*/result.json")}
    for row in rows[::7]:
        result = results[row["folder"]]
        assert int(row["run_solved"]) == result["status"].count("solved")
        assert float(row["eval_loss_median"]) == np.median(result["final"]["eval/loss"])
        assert float(row["log10_ratio_last"]) == pytest.approx(np.median(result["digest"]["log10_ratio_last"]))
    assert len(rows_of(files["table.csv"])) == 8000
    comparisons = [row for row in rows_of(files["comparisons.csv"]) if row["measure"] == "loss"]
    assert len(comparisons) == 750
    for row in comparisons[::7]:
        own, other = results[row["folder"]]["final"]["eval/loss"], results[row["baseline_folder"]]["final"]["eval/loss"]
        assert float(row["difference"]) == pytest.approx(np.mean(np.array(own) - other), abs=1e-12)
        assert row["baseline_folder"].partition("_")[0] == row["folder"].partition("+")[0].partition("_")[0]
    page = (tmp_path / "report" / "report.html").read_text()
    assert len(page) < 20e6


def test_nothing_to_compare_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a space").mkdir()
    with pytest.raises(RnnstudyError) as caught:
        contents_of(tmp_path / "a space")
    assert str(caught.value).startswith(f"No run in {tmp_path / 'a space'}: ")
    edit = write_run(tmp_path / "a space" / "run", Synthetic(replicas=1, probes=2))
    edit_json(edit / "run.json", format=99)
    with pytest.raises(RnnstudyError, match=r"run: run\.json has format 99, this version reads up to 1"):
        contents_of(tmp_path / "a space")
