"""The whole comparison: table, figures, page."""

import csv
import io
import json
import math
import os
import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console
from scipy.stats import binomtest
from tools.summaries import summaries_of
from tools.synthetic_runs import Synthetic, edit_config, edit_json, read_json, write_jsonl, write_run, write_sweep
from typing_extensions import override

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.report.compare import Request, compare
from rnnstudy.report.figures.panels import Layout, arrange
from rnnstudy.report.figures.training import accuracy_figures, loss_figures
from rnnstudy.report.tables.by_run import columns

TAG = "hidden_grad_norm/h/layer_0/total"


class Page(HTMLParser):
    """Elements and text of a page, as a browser would find them."""

    def __init__(self, source: str) -> None:
        """Read the page."""
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(source)
        self.tags = [tag for tag, _ in self.elements]
        self.figures, self.links = self.values("svg", "aria-label"), self.values("a", "href")

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    @override
    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, element: str, key: str) -> list[str]:
        """Return the values that elements of a kind, or any, have of an attribute."""
        return [attrs[key] for tag, attrs in self.elements if element in {tag, ""} and key in attrs]


def run_compare(root: Path, *, width: int = 100) -> tuple[str, Page, str]:
    """Compare; return what the terminal showed, the page, and its source."""
    stream = io.StringIO()
    path = compare(Request(directories=(root,)), Console(file=stream, width=width))
    assert path == root / "report" / "report.html"
    source = path.read_text()
    return stream.getvalue(), Page(source), source


def rows_of(root: Path) -> list[dict[str, str]]:
    """Return the rows of table.csv."""
    return list(csv.DictReader((root / "report" / "table.csv").read_text().splitlines()))


def cells(root: Path) -> list[dict[str, tuple[str, str]]]:
    """Return the table for people, a dict per run."""
    table = columns(summaries_of(root))
    return [{column.header: column.cells[row] for column in table} for row in range(len(table[0].cells))]


def set_curves(folder: Path, first: list[list[float]], last: list[list[float]]) -> None:
    """Give a run two probes, one list per replica."""
    rows = [
        {"step": step, "replica": replica, "tag": TAG, "values": values}
        for step, probe in ((0, first), (100, last))
        for replica, values in enumerate(probe)
    ]
    write_jsonl(folder / "curves.jsonl", rows)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Page, str]:
    """Compare a whole sweep once: its folder, the terminal, the page and its source."""
    root = write_sweep(tmp_path_factory.mktemp("x") / "a sweep #1")
    return root, *run_compare(root)


def test_table_against_the_files(sweep: tuple[Path, str, Page, str]) -> None:
    root, *_ = sweep
    table = pd.read_csv(root / "report" / "table.csv", keep_default_na=False, na_values=[""])
    assert len(table) == 9 * 8
    for folder, rows in table.groupby("folder"):
        result = read_json(root / str(folder) / "result.json")
        metrics = [json.loads(line) for line in (root / str(folder) / "metrics.jsonl").read_text().splitlines()]
        curves = [json.loads(line) for line in (root / str(folder) / "curves.jsonl").read_text().splitlines()]
        assert rows["status"].tolist() == result["status"]
        lost = np.array(result["status"]) == "diverged"
        for name, tag in (("eval_loss", "eval/loss"), ("eval_accuracy", "eval/accuracy")):
            np.testing.assert_array_equal(rows[name].astype(float), np.where(lost, np.nan, result["final"][tag]))
        assert rows["steps_to_solve"].isna().tolist() == [steps is None for steps in result["steps_to_solve"]]
        solved = result["status"].count("solved")
        interval = binomtest(solved, 8).proportion_ci(method="wilson")
        assert rows["run_solved_low"].to_numpy() == pytest.approx(interval.low, abs=1e-12)
        for row in rows.to_dict("records"):
            replica = row["replica"]
            own = [line for line in curves if line["replica"] == replica]
            for key, line in (("first", own[0]), ("last", own[-1])):
                expected = math.log10(line["values"][1] / line["values"][-1])
                if key == "last" and row["status"] == "diverged":
                    expected = math.nan
                assert float(row[f"log10_ratio_{key}"]) == pytest.approx(expected, abs=1e-9, nan_ok=True)
            if "clip_norm" in str(folder):
                active = [line["clip_norm/active"] for line in metrics if line["replica"] == replica]
                assert row["active_clip_norm"] == pytest.approx(np.mean([x for x in active if x is not None]))


def test_cells_show_medians_ranges_and_counts(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(replicas=4, num_steps=2000))
    final = {"eval/loss": [1.0, 2.0, 4.0, math.nan], "eval/accuracy": [0.1, 0.2, 0.4, 0.8]}
    status = ["solved", "solved", "solved", "diverged"]
    edit_json(folder / "result.json", final=final, status=status, steps_to_solve=[500, 700, 1000, None])
    metrics = [{"step": s, "replica": r, "train/skipped": s + r, "x/active": r / 4} for s in (1, 2) for r in range(4)]
    write_jsonl(folder / "metrics.jsonl", metrics)
    (row,) = cells(tmp_path)
    assert row["solved"] == ("3/4", "0.30\u20130.95")
    assert row["steps"] == ("850", "500 to > 2000")
    assert row["loss"] == ("3.00", "1.0 to NaN")
    assert row["accuracy"] == ("0.150", "NaN to 0.40")  # the diverged one is the worst
    assert row["diverged"] == ("1/4", "")
    assert row["skipped"] == ("14", "")
    assert row["active"] == ("0.38", "")
    assert row["time"] == ("42 s", "")


@pytest.mark.usefixtures("undrawn")
def test_a_censored_median_is_shown_as_more_than_the_steps_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(replicas=4))
    edit_json(
        folder / "result.json",
        status=["solved", "solved", "finished", "finished"],
        steps_to_solve=[10, 20, None, None],
        steps=1500,
    )
    assert cells(tmp_path)[0]["steps"] == ("> 1500", "10 to > 1500")
    output, page, _ = run_compare(tmp_path)
    assert "> 1500" in output
    assert "solved 2 of 4 replicas (median > 1500 steps)" in page.text
    (first, *_) = rows_of(tmp_path)
    assert first["run_median_steps_to_solve"] == "Inf"


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_ratio_has_a_median_before_training_and_a_range_after(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(replicas=3))
    set_curves(folder, [[1, 1e-2, 1], [1, 1e-4, 1], [1, 1e-9, 1]], [[1, 0.0, 1], [1, 0.0, 1], [1, 1e-9, 1]])
    assert cells(tmp_path)[0]["log ratio"] == ("-4.0", "→ zero to -9.0")
    _, page, _ = run_compare(tmp_path)
    assert "vanishes before lag 22 in 3 of 3 replicas (exactly zero to 10-9.0 of that at lag 0)" in page.text


@pytest.mark.slow
def test_zeros_nan_and_infinities_are_counted(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(replicas=2))
    set_curves(folder, [[0.0] * 5, [0.0] * 5], [[0.0, math.nan, math.inf, 1e-300, 1], [0.0, math.inf, 1, 1, 1]])
    _, page, _ = run_compare(tmp_path)
    assert "lstm, first probe: 10 exact zeros, 0 NaN, 0 infinite, of 10 values" in page.text
    assert "lstm, last probe: 2 exact zeros, 1 NaN, 2 infinite, of 10 values" in page.text


def test_headline_names_best_and_worst(sweep: tuple[Path, str, Page, str]) -> None:
    root, output, page, _ = sweep
    results = {name: read_json(root / name / "result.json") for name in ("gru-orthogonal_init", "rnn")}
    steps = np.median(results["gru-orthogonal_init"]["steps_to_solve"])
    best = f"gru + orthogonal_init solved 8 of 8 replicas (median {steps:.0f} steps); worst: 3 runs each solved 0 of 8"
    assert f"Best of 9 runs (the order is not shown to be more than chance): {best}" in page.text
    assert re.search(r"in rnn the gradient vanishes before lag 22 in 7 of 8 replicas \(10-[67]\.", page.text)
    assert "Note:" not in output


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_two_runs_without_a_baseline_are_tested_not_judged_by_their_intervals(tmp_path: Path) -> None:
    for name, solved in (("rnn", 3), ("gru", 4)):
        folder = write_run(tmp_path / name, Synthetic(model=name))
        status = ["solved"] * solved + ["finished"] * (8 - solved)
        edit_json(folder / "result.json", status=status, steps_to_solve=[9] * solved + [None] * (8 - solved))
    text = run_compare(tmp_path)[1].text
    assert "rnn against gru: no difference shown in fraction solved, 3 of 8 against 4 of 8 (p = 1; " in text
    assert "overlap" not in text


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_best_and_worst_are_of_one_task(tmp_path: Path) -> None:
    for lag in (8, 30):
        for model in ("rnn", "lstm"):
            spec = Synthetic(model=model, seq_len=lag + 2, settings={"task": {"lag": lag}}, speed=lag * 20)
            write_run(tmp_path / f"{model} {lag}", spec)
    output, page, _ = run_compare(tmp_path)
    sentences = re.findall(r"fastest: \w+, lag=(\d+) .*?slowest: \w+, lag=(\d+) ", " ".join(page.text.split()))
    assert sentences == [("8", "8"), ("30", "30")]
    assert "differ in task.lag" in output


def test_terminal_stays_within_its_width(sweep: tuple[Path, str, Page, str]) -> None:
    _, output, _, _ = sweep
    lines = output.splitlines()
    assert max(len(line) for line in lines if not line.startswith("Report:")) <= 100
    assert "…" not in output
    for header in ("run", "solved", "steps", "diverged", "verdict", "loss"):
        assert header in lines[1]
    missing = re.search(r"No room for: (.*)\. The report", output)
    assert missing
    for header in missing[1].split(", "):
        assert f" {header} " not in lines[1]


def test_page_needs_nothing_from_outside(sweep: tuple[Path, str, Page, str]) -> None:
    root, _, page, source = sweep
    assert len(page.figures) == 14
    assert all(page.figures)
    sources = page.values("", "src") + page.values("", "srcset") + page.values("image", "href")
    assert sources
    assert all(each.startswith("data:image/png;base64,") for each in sources)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not re.search(r"url\((?!#)|@import|https?:", re.sub(r"data:[^\"]*", "", source))
    for link in page.links:
        assert (root / "report" / unquote(link)).exists(), link


def test_pngs_lie_beside_the_page(sweep: tuple[Path, str, Page, str]) -> None:
    root, *_ = sweep
    names = {path.name for path in (root / "report").iterdir()}
    stems = (
        "solved",
        "solved_over_training",
        "solved_difference",
        "profiles",
        "paired_differences",
        "gradient_by_lag",
        "accuracy",
        "loss",
    )
    figures = {f"{stem}.png" for stem in (*stems, "weight_gradient", "heatmaps")}
    figures |= {"overview.png", *(f"overview_{number}.png" for number in (2, 3, 4))}
    drawings = {name.replace(".png", ".svg") for name in figures}
    assert names == {
        *figures,
        *drawings,
        "report.html",
        "table.csv",
        "runs.csv",
        "table.md",
        "table.tex",
        "comparisons.csv",
        "comparisons.tex",
    }
    assert all((root / "report" / name).read_bytes().startswith(b"\x89PNG") for name in figures)


@pytest.mark.slow
def test_a_second_comparison_is_the_same_and_stale_figures_go(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic())
    first = run_compare(tmp_path)[2]
    assert run_compare(tmp_path)[2] == first
    (folder / "curves.jsonl").unlink()
    run_compare(tmp_path)
    assert not (tmp_path / "report" / "heatmaps.png").exists()
    assert (tmp_path / "report" / "loss.png").exists()


@pytest.mark.slow
def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    hostile = [
        "<script>alert(1)</script>",
        "[red]x[/red]",
        "$x^{$",
        "_hidden",
        "a\nb",
        "模型🙂",
        '"><img src=x>',
        "x" * 300,
    ]
    for number, name in enumerate(hostile):
        write_run(tmp_path / f"run {number}", Synthetic(model=name, settings={"extra": name}, replicas=2))
    output, page, _ = run_compare(tmp_path, width=2000)
    assert "script" not in page.tags
    assert "img" not in page.tags
    for name in hostile:
        assert name in page.text
        assert all(line in output for line in name.split("\n"))


@pytest.mark.usefixtures("undrawn")
def test_hostile_folder_name_is_only_a_link(tmp_path: Path) -> None:
    write_run(tmp_path / '"><b>%41?#x', Synthetic())
    _, page, _ = run_compare(tmp_path)
    assert "b" not in page.tags
    assert all((tmp_path / "report" / unquote(link)).exists() for link in page.links)


@pytest.mark.parametrize("replicas", [1, 2])
def test_one_run_and_few_replicas(tmp_path: Path, replicas: int) -> None:
    write_run(tmp_path / "run", Synthetic(replicas=replicas))
    output, page, _ = run_compare(tmp_path)
    assert f"Note: Runs with {replicas} replica" in output
    assert f"lstm solved {'the task' if replicas == 1 else '2 of 2 replicas'} (median" in page.text
    assert "All 1 " not in page.text
    assert "1 of 1" not in page.text
    rows = rows_of(tmp_path)
    assert [row["replica"] for row in rows] == [str(replica) for replica in range(replicas)]


@pytest.mark.usefixtures("undrawn")
def test_the_compared_folder_may_be_the_run(tmp_path: Path) -> None:
    run_compare(write_run(tmp_path / "run", Synthetic()))
    assert (tmp_path / "run" / "report" / "report.html").exists()


def test_unfinished_run_is_listed_and_drawn(tmp_path: Path) -> None:
    write_run(tmp_path / "a", Synthetic(model="gru"))
    write_run(tmp_path / "b", Synthetic(finished=False))
    an_hour_ago = time.time() - 3600
    os.utime(tmp_path / "b" / "metrics.jsonl", (an_hour_ago, an_hour_ago))
    gru, lstm = cells(tmp_path)
    lines = (tmp_path / "b" / "metrics.jsonl").read_text().splitlines()
    last = max(json.loads(line)["step"] for line in lines)
    assert (gru["run"], lstm["run"]) == (("gru", ""), ("lstm", f"stopped, step {last} of 2000"))
    assert lstm["loss"] != ("", "")
    output, page, _ = run_compare(tmp_path, width=200)
    assert f"Note: Not ended: lstm (b): stopped, step {last} of 2000" in output
    assert "gru solved 8 of 8" in page.text
    assert len(page.figures) == 9


def test_run_that_has_only_begun(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "b", Synthetic(finished=False))
    for name in ("metrics.jsonl", "curves.jsonl"):
        (folder / name).write_text("")
    output, page, _ = run_compare(tmp_path)
    assert "The run has not ended yet." in output
    assert page.figures == []


@pytest.mark.usefixtures("undrawn")
def test_unreadable_run_leaves_the_rest(tmp_path: Path) -> None:
    for model in ("rnn", "gru", "lstm"):
        write_run(tmp_path / model, Synthetic(model=model))
    (tmp_path / "rnn" / "run.json").write_text("{")
    output, page, _ = run_compare(tmp_path)
    assert "Note: Not read: rnn: run.json is no JSON" in output
    assert "Not read: rnn: run.json is no JSON" in page.text
    assert len(cells(tmp_path)) == 2


def test_runs_of_different_length_and_without_accuracy(tmp_path: Path) -> None:
    for number, seq_len in enumerate((1, 12, 60)):
        write_run(
            tmp_path / f"{number}", Synthetic(model=f"m{number}", seq_len=seq_len, accuracy=False, probes=1 + number)
        )
    _, page, _ = run_compare(tmp_path)
    assert len(page.figures) == 8
    assert all("accuracy" not in row for row in cells(tmp_path))


def test_where_everything_is_zero_or_nan_the_outcome_alone_is_drawn(tmp_path: Path) -> None:
    for name, value in (("rnn", 0.0), ("gru", math.nan)):
        folder = write_run(tmp_path / name, Synthetic(model=name, replicas=5))
        set_curves(folder, [[value] * 4] * 5, [[value] * 4] * 5)
        rows = [{"step": s, "replica": r, "eval/loss": math.nan} for s in (0, 1) for r in range(5)]
        write_jsonl(folder / "metrics.jsonl", rows)
    page = run_compare(tmp_path)[1]
    assert [alt.partition(":")[0] for alt in page.figures] == [
        "Fraction of replicas that solved the task",
        "Fractions solved over training, and their difference",
        "Differences to the baseline",
    ]


@pytest.mark.usefixtures("undrawn")
def test_settings_that_differ_are_columns_of_the_csv(tmp_path: Path) -> None:
    for lag in (5, 50):
        folder = write_run(tmp_path / f"{lag}", Synthetic(seed=lag))
        edit_config(folder, task={"lag": lag})
    run_compare(tmp_path)
    table = pd.read_csv(tmp_path / "report" / "table.csv")
    assert table.groupby("folder")["task.lag"].unique().map(list).to_dict() == {5: [5], 50: [50]}
    assert table.groupby("folder")["network"].unique().map(min).to_dict() == {5: 5, 50: 50}


def add_elsewhere(folder: Path, seq_len: int, accuracies: list[float]) -> None:
    """Have a synthetic run evaluated at another length too, once at its first step and once at its end."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    for step, shown in ((0, [0.5] * len(accuracies)), (2000, accuracies)):
        for replica, accuracy in enumerate(shown):
            row = {"step": step, "replica": replica, f"eval_at_{seq_len}/accuracy": accuracy}
            lines.append(json.dumps(row | {f"eval_at_{seq_len}/loss": 1 - accuracy}))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.usefixtures("undrawn")
def test_other_lengths_have_columns(tmp_path: Path) -> None:
    for name, seq_len in (("one", 1000), ("two", 60)):
        folder = write_run(tmp_path / name, Synthetic(replicas=3, model=name))
        add_elsewhere(folder, seq_len, [0.9, 0.2, 0.3])
    summaries = summaries_of(tmp_path)
    table = {column.header: column for column in columns(summaries)}
    headers = list(table)
    # In the order of the lengths, not of their names; a run that was not evaluated there has no figure.
    assert headers.index("at 60") + 1 == headers.index("at 1000")
    place = [summary.model for summary in summaries].index("one")
    assert table["at 1000"].cells[place] == ("0.300", "0.20\N{EN DASH}0.90")
    assert table["at 1000"].cells[1 - place] == ("\N{EN DASH}", "")
    run_compare(tmp_path)
    rows = rows_of(tmp_path)
    mine = [row for row in rows if row["model"] == "one"]
    assert [float(row["eval_at_1000_accuracy"]) for row in mine] == [0.9, 0.2, 0.3]
    assert [float(row["eval_at_1000_loss"]) for row in mine] == pytest.approx([0.1, 0.8, 0.7])
    assert {row["eval_at_1000_accuracy"] for row in rows if row["model"] == "two"} == {""}


@pytest.mark.usefixtures("undrawn")
def test_the_dashed_line_of_the_loss_is_the_memoryless_one(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", Synthetic(speed=0))
    manifest = read_json(folder / "run.json")
    manifest["facts"] |= {"chance_loss": 2.08, "memoryless_loss": 0.17}
    (folder / "run.json").write_text(json.dumps(manifest))
    summaries = summaries_of(tmp_path)

    def levels(draw: Callable[[Layout], list[Figure]]) -> set[float]:
        (figure,) = draw(arrange(summaries))
        dashed = [line for line in figure.axes[0].lines if line.get_color() == "#666666"]
        return {float(y) for line in dashed for y in np.asarray(line.get_ydata()).tolist()}

    assert levels(loss_figures) == {0.17}
    assert levels(accuracy_figures) == {0.125}
    shown, _, _ = run_compare(tmp_path, width=200)
    assert "without memory" not in shown  # nobody to compare with: one run is not named best
    write_run(tmp_path / "other", Synthetic(speed=0, model="gru"))
    edit_json(tmp_path / "other" / "run.json", facts=manifest["facts"])
    shown, _, _ = run_compare(tmp_path, width=200)
    assert "without memory 0.1700" in shown


def test_a_task_without_a_criterion_is_not_called_unsolved(tmp_path: Path) -> None:
    for model in ("rnn", "gru"):
        folder = write_run(tmp_path / model, Synthetic(model=model, speed=0))
        facts = read_json(folder / "run.json")["facts"]
        edit_json(folder / "run.json", facts=facts | {"solved_metric": None, "solved_at": None, "solved_when": None})
    shown, page, _ = run_compare(tmp_path, width=200)
    assert "2 runs of a task that has no criterion to be solved; lowest final loss" in shown
    assert "The task has no criterion." in page.text
    assert "solved 0/8" not in shown
    assert not (tmp_path / "report" / "solved.png").exists()
    rows = rows_of(tmp_path)
    assert {row["run_solved"] for row in rows} == {row["run_median_steps_to_solve"] for row in rows} == {""}
    shown, _, _ = run_compare(tmp_path / "rnn", width=200)
    assert "Final loss of rnn (2." in shown
    assert "solved 0" not in shown


@pytest.mark.usefixtures("undrawn")
def test_no_ratio_where_the_loss_is_at_many_time_steps_unless_that_of_the_answer_was_recorded(tmp_path: Path) -> None:
    for model in ("rnn", "gru", "lstm"):
        folder = write_run(tmp_path / model, Synthetic(model=model))
        facts = read_json(folder / "run.json")["facts"]
        edit_json(
            folder / "run.json", facts=facts | {"loss_at_end": model == "rnn", "answer_gradient": model == "lstm"}
        )
    shown, _, _ = run_compare(tmp_path, width=200)
    assert "No log ratio, horizon and decay for gru: the loss is at many time steps there" in shown
    assert "in gru the gradient" not in shown
    rows = rows_of(tmp_path)
    assert {row["log10_ratio_last"] == "" for row in rows if row["model"] == "gru"} == {True}
    assert {row["log10_ratio_last"] == "" for row in rows if row["model"] != "gru"} == {False}


def test_an_explosion_and_what_clipping_did_to_it(tmp_path: Path) -> None:
    wild = Synthetic(model="rnn", replicas=5, speed=0, extremes=True, diverged_at=(400, 40), spikes=3, growth=5.0)
    folder = write_run(tmp_path / "wild", wild)
    write_run(tmp_path / "clipped", Synthetic(model="rnn", replicas=5, mitigation=["clip_norm"], extremes=True))
    # Replica 2 explodes at step 1000 and never recovers, though every number stays finite.
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    dead = [row | {"eval/loss": 1e6} if row["replica"] == 2 and row["step"] >= 1000 else row for row in logged]
    write_jsonl(folder / "metrics.jsonl", dead)
    shown, page, _ = run_compare(tmp_path, width=80)
    assert {"diverged", "largest", "norm", "verdict"} <= set(shown.partition("──")[0].split())
    for told in (
        "Without a mitigation 3 of 5 replicas diverged, the first at step 40; with clip_norm none did "
        "(not shown to be more than chance).",
        "rnn: 3 of 5 replicas diverged, the first at step 40; the gradient reaches lag 22 in 2 of 5 replicas",
        "it exploded in 1 of 5 replicas, up to 105.0 times that at lag 0; 15 steps spiked, up to a norm of 1.00e+09",
    ):
        assert told in page.text
    rows = {row["replica"]: row for row in rows_of(tmp_path) if row["mitigation"] == "none"}
    assert [rows[str(r)]["diverged_at"] for r in range(5)] == ["400", "40", "1000", "", ""]
    assert rows["1"]["log10_ratio_last"] == rows["2"]["log10_ratio_last"] == "NaN"
    with (tmp_path / "report" / "runs.csv").open() as file:
        calm, exploded = sorted(csv.DictReader(file), key=lambda row: row["diverged"])
    names = ("diverged_at", "largest_raw_norm", "largest_train_loss", "spikes", "clipped_steps")
    assert [exploded[name] for name in names] == ["40", "1000000000.0", "3.0", "15.0", "0.0"]
    assert float(exploded["log10_growth"]) == pytest.approx(5)
    assert [calm[name] for name in ("diverged_at", "spikes")] == ["", "0.0"]
    assert float(calm["clipped_steps"]) > 0
    with (tmp_path / "report" / "comparisons.csv").open() as file:
        effects = {row["measure"]: row for row in csv.DictReader(file)}
    assert (float(effects["diverged"]["difference"]), float(effects["spikes"]["difference"])) == (-0.6, -3)


def test_a_report_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    write_run(tmp_path / "run", Synthetic())
    (tmp_path / "report").write_text("in the way")
    with pytest.raises(RnnstudyError, match="cannot be written"):
        compare(Request(directories=(tmp_path,)), Console(file=io.StringIO()))
