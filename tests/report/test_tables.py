"""The tables: which columns they show, how they write numbers, and their LaTeX."""

import csv
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.stats import trim_mean
from tools.summaries import compare_pairs, make_summary
from tools.synthetic_runs import Synthetic, edit_json, read_json, write_run, write_sweep
from typing_extensions import override

from rnnstudy.report.analysis.comparison import Comparison
from rnnstudy.report.compare import Request, assemble, table_files
from rnnstudy.report.contents import Contents
from rnnstudy.report.page.html import render
from rnnstudy.report.show import show_tables
from rnnstudy.report.tables.by_pair import comparison_columns, show_difference
from rnnstudy.report.tables.by_run import columns
from rnnstudy.report.tables.columns import Column, Table
from rnnstudy.report.tables.latex import escape_latex, latex_table
from rnnstudy.report.tables.text import fit_width
from rnnstudy.report.tables.tidy import pair_rows, run_row, to_csv


def contents_of(*folders: Path) -> Contents:
    return assemble(Request(directories=folders))


def printed(contents: Contents, width: int) -> str:
    stream = io.StringIO()
    show_tables(contents, Console(file=stream, width=width))
    return stream.getvalue()


def column(header: str, *cells: tuple[str, str], **options: Any) -> Column:
    return Column(header=header, meaning="", cells=cells, **options)


def test_a_line_says_what_all_rows_share() -> None:
    name, loss = column("run", ("a", ""), ("b", "")), column("loss", ("1", "0 to 2"), ("1", "0 to 3"))
    same, empty = column("solved", *[("0/8", "0–0.3")] * 2), column("spikes", *[("0", "")] * 2)
    table = Table(noun="run", every=(name, same, loss, empty))
    assert table.columns == [name, loss]
    assert table.shared == "Both runs: solved 0/8 (0–0.3), spikes 0."
    alone = Table(noun="run", every=tuple(each.rows(0, 1) for each in table.every))
    assert (len(alone.columns), alone.shared) == (4, "")


def test_settings_then_further_lines_leave_before_a_figure_does() -> None:
    table = [
        column("run", ("rnn", "")),
        column("lag", ("100", ""), is_setting=True),
        column("hidden_size", ("64", ""), is_setting=True),
        column("solved", ("7/8", "0.5–0.9")),
        column("verdict", ("better", "p = 0.01")),
        column("time", ("10000000 s", ""), rank=1),
    ]
    named = ("rnn, lag=100,\nhidden_size=64", "")
    assert fit_width(table, 57) == (table, [])
    assert fit_width(table, 45) == (table[:-1], ["time"])
    merged, missing = fit_width(table, 38)
    assert [each.cells[0] for each in merged] == [named, table[3].cells[0], table[4].cells[0]]
    assert missing == ["time"]
    bare, missing = fit_width(table, 34)
    assert [each.cells[0] for each in bare] == [named, ("7/8", ""), ("better", "")]
    assert missing == ["time", "details of verdict", "details of solved"]


LONG = ("orthogonal_regularization", "truncated_backpropagation")


@pytest.mark.parametrize("lags", [(9,), (9, 20, 40, 100)])
@pytest.mark.parametrize("models", [("rnn",), ("rnn", "gru", "antisymmetric_rnn")])
def test_80_columns_hold_what_decides(tmp_path: Path, models: tuple[str, ...], lags: tuple[int, ...]) -> None:
    for model in models:
        for lag in lags:
            for mitigation in ((), LONG):
                settings = {"task": {"lag": lag}, "optimizer": {"learning_rate": lag / 1000}}
                lost = (40,) if not mitigation and model == "rnn" else ()
                spec = Synthetic(
                    model=model, mitigation=mitigation, settings=settings, extremes=True, diverged_at=lost, probes=2
                )
                write_run(tmp_path / f"{model}-{lag}-{len(mitigation)}", spec)
    contents = contents_of(tmp_path)
    shown = printed(contents, 80)
    table = shown.partition("No room for")[0]
    assert max(map(len, shown.replace(str(tmp_path), "").splitlines())) <= 80
    told = " ".join(table.split())
    for header in ("solved", "steps", "diverged", "largest norm", "verdict"):
        assert header in told.replace("largest", "largest norm")
    words = ("baseline", "better", "worse", "no difference shown", "too few", "at the limit")
    rows = [line for line in table.splitlines() if line.rstrip().endswith(words)]
    assert len(rows) == len(contents.summaries) == 2 * len(models) * len(lags)
    for row, summary in zip(rows, contents.summaries, strict=True):
        cells = row.split()
        assert f"{summary.solved}/{summary.replicas}" in cells or "solved 8/8" in told
        assert f"{summary.median_steps:.0f}" in cells or f"steps {summary.median_steps:.0f}" in told
        assert f"{summary.diverged}/{summary.replicas}" in cells or "diverged 0/8" in told
    named = ["rnn", "regularization", *(["antisymmetric_"] if len(models) > 1 else ["backpropagation"])]
    assert all(part in table for part in [*named, *(["lag=", "100"] if len(lags) > 1 else [])])


def test_every_run_has_its_verdict_on_the_primary_measure() -> None:
    base, good, few, other = (
        make_summary(name, loss=np.linspace(start, start + 1, 8).tolist())
        for name, start in (("base", 5.0), ("good", 1.0), ("few", 4.0), ("other", 3.0))
    )
    comparisons = compare_pairs([(good, base), (few, base)], measure="loss")
    found = next(each for each in columns([base, good, few, other], comparisons) if each.header == "verdict")
    good_p, few_p = (effect.adjusted for each in comparisons for effect in each.effects if effect.measure == "loss")
    assert found.cells == (
        ("baseline", ""),
        ("better", f"p = {good_p:.2g}"),
        ("better", f"p = {few_p:.2g}"),
        ("\N{EN DASH}", ""),
    )
    assert "final loss" in found.meaning


def pair(*, replicas: int, measure: str | None = None) -> list[Comparison]:
    this = [0.25, 0.375, 0.5, 0.1875, 0.5, 0.25, 0.75, math.nan][-replicas:]
    status = ["solved"] * (replicas - 1) + ["diverged"]
    run = make_summary("run", loss=this, steps=[100] * (replicas - 1) + [None], status=status)
    base = make_summary("base", loss=[1.0, 2.0] * (replicas // 2), steps=[None] * replicas)
    return compare_pairs([(run, base)], measure=measure)


def test_a_cell_of_the_comparisons_has_verdict_difference_interval_and_p() -> None:
    (comparison,) = comparisons = pair(replicas=8, measure="loss")
    table = {each.header: each.cells[0] for each in comparison_columns(comparisons)}
    assert list(table)[:4] == ["run", "against", "pairs", "final loss"]
    loss = comparison.effect("loss")
    assert loss is not None
    assert loss.difference is not None
    assert loss.difference.rough  # 7 pairs are finite
    value, low, high = loss.difference.ends
    main, more = table["final loss"]
    assert main == loss.verdict
    assert more.splitlines()[0] == f"{value:+.3g} ≈ [{low:+.2g}, {high:+#.2g}], 1 left out"
    assert more.splitlines()[1] == f"p = {loss.adjusted:.2g}, P = {loss.improvement.value:.2f}"
    solved = comparison.effect("solved")
    assert solved is not None
    assert table["fraction solved"][0] == solved.verdict
    assert "≈" not in table["fraction solved"][1]
    ends = ((1.0002, 1.0009, "[+1.000, +1.001]"), (1.0002, 1.5, "[+1.0, +1.5]"), (-0.123, -0.121, "[-0.123, -0.121]"))
    for low, high, shown in ends:
        near = replace(loss, left_out=0, difference=replace(loss.difference, low=low, high=high, rough=False))
        assert show_difference(near)[1] == shown
    few = {each.header: each.cells[0] for each in comparison_columns(pair(replicas=4))}
    assert few["final loss"][0] == "too few"
    assert "p = " not in few["final loss"][1]


def test_comparisons_for_programs_have_all_that_decides() -> None:
    (comparison,) = comparisons = pair(replicas=8)
    rows = {row["measure"]: row for row in pair_rows(comparisons, "holm")}
    for effect in comparison.effects:
        row = rows[effect.measure]
        assert [row[key] for key in ("p", "p_adjusted", "needed", "verdict")] == [
            effect.p,
            effect.adjusted,
            effect.needed,
            effect.verdict,
        ]
        assert (row["paired"], row["correction"], row["primary"]) == (True, "holm", effect.measure == "solved")
        assert row["logrank_p"] == (comparison.logrank if effect.measure == "steps_to_solve" else None)
        assert effect.difference is None or row["rough"] == effect.difference.rough
    assert comparison.logrank is not None


def test_a_run_for_programs_has_three_middles_of_its_loss_and_the_restricted_mean() -> None:
    losses = [0.5, 0.25, 8.0, 1.0, 2.0, 4.0, 0.125, 3.0]
    run = make_summary("a", loss=losses, steps=[100, 200, *[None] * 6], last_step=1000)
    row = run_row(run)
    assert row["eval_loss_mean"] == pytest.approx(np.mean(losses), abs=1e-12)
    assert row["eval_loss_iqm"] == pytest.approx(trim_mean(losses, 0.25), abs=1e-12)
    assert row["eval_loss_median"] == np.median(losses)
    assert row["run_restricted_mean_steps"] == (100 + 200 + 6 * 1000) / 8
    # A diverged replica is the worst: two of eight are cut off, three are not.
    for lost, shown in ((2, True), (3, False)):
        values = [*losses[lost:], *[math.nan] * lost]
        middle = run_row(make_summary("a", loss=values))["eval_loss_iqm"]
        assert isinstance(middle, float)
        assert math.isfinite(middle) == shown
        assert not math.isinf(middle)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """A report of a lost run, one that is running, one whose task has no criterion, and one that solves nothing."""
    root = tmp_path_factory.mktemp("mixed")
    for mitigation, lost in (((), 8), (("clip_norm",), 1)):
        spec = Synthetic(mitigation=mitigation, extremes=True, diverged_at=tuple(range(3, 3 + lost)), spikes=3)
        write_run(root / f"lost{lost}", spec)
    write_run(root / "running", Synthetic(model="gru", finished=False))
    write_run(root / "never", Synthetic(model="rnn", speed=0, late_decay=0.01))
    free = write_run(root / "free", Synthetic(model="irnn", accuracy=False))
    facts = read_json(free / "run.json")["facts"]
    edit_json(free / "run.json", facts=facts | {"solved_metric": None, "solved_at": None, "solved_when": None})
    return contents_of(root)


def test_programs_read_one_form_of_what_is_no_number(mixed: Contents) -> None:
    files = table_files(mixed)
    for name in ("table.csv", "runs.csv", "comparisons.csv"):
        text = files[name]
        cells = {cell for row in csv.reader(io.StringIO(text)) for cell in row}
        assert ("NaN" in cells) == (name != "comparisons.csv")
        assert not {
            cell for cell in cells if re.fullmatch(r"[+-]?(nan|inf(inity)?)|none|null|–|∞", cell, re.IGNORECASE)
        } - {
            "NaN",
            "Inf",
            "-Inf",
            "none",  # no mitigation
        }
        assert len(pd.read_csv(io.StringIO(text))) == text.count("\n") - 1
    runs = {row["folder"]: row for row in csv.DictReader(io.StringIO(files["runs.csv"]))}
    lost = runs["lost8"]
    figures = ("eval_loss_median", "eval_loss_iqm", "eval_loss_mean", "eval_accuracy_median", "horizon_median")
    assert {lost[key] for key in (*figures, "log10_ratio_last", "run_median_steps_to_solve")} == {"NaN"}
    assert runs["never"]["run_median_steps_to_solve"] == "Inf"
    assert (runs["free"]["run_solved"], runs["free"]["run_median_steps_to_solve"]) == ("", "")
    assert runs["running"]["state"].startswith("stopped, step ")
    assert pd.read_csv(io.StringIO(files["runs.csv"]))["run_median_steps_to_solve"].dtype == np.float64


def test_people_read_one_form_of_what_is_no_number(mixed: Contents) -> None:
    files = table_files(mixed)
    texts = [printed(mixed, 300), files["table.md"], files["table.tex"], files["comparisons.tex"], render(mixed, {})]
    for text in texts:
        assert set(re.findall(r"(?<![\w.-])[+-]?(?:nan|inf)\b", text, re.IGNORECASE)) <= {"NaN"}
    for text in texts[:3]:
        table = text.partition("Compared with")[0]
        (row,) = [line for line in table.splitlines() if re.match(r"^\W*lstm\b(?! \+)", line)]
        # Steps, loss, its interquartile mean, accuracy, horizon and decay of the lost run.
        assert row.count("NaN") == 6
        assert "> 2000" in table.replace("$>$", ">")


def test_numbers_and_text_in_latex() -> None:
    assert escape_latex(r"a_b & 5 % #1 $x$ {y} \z ~ ^2") == (
        r"a\_b \& 5 \% \#1 \$x\$ \{y\} \textbackslash{}z \textasciitilde{} \textasciicircum{}2"
    )
    assert escape_latex("1.59e+35 (median -3e-05) [-0.5, +2] 0.1–0.2") == (
        r"$1.59 \times 10^{35}$ (median $-3 \times 10^{-5}$) [$-0.5$, $+2$] 0.1--0.2"
    )
    assert escape_latex("clip-2, lag=9, v1e+5x, ≈ > 100 → ∞") == (
        r"clip-2, lag=9, v1e+5x, $\approx$ $>$ 100 $\to$ $\infty$"
    )


def parse_tabular(text: str) -> list[int]:
    """Return the number of cells of each row, after checking braces, formulas and that nothing special is bare."""
    lines = [line for line in text.splitlines() if not line.startswith("%")]
    assert lines[0].startswith(r"\begin{tabular}{l")
    assert lines[-1] == r"\end{tabular}"
    assert [line for line in lines if line in {r"\toprule", r"\bottomrule"}] == [r"\toprule", r"\bottomrule"]
    counts = []
    for line in lines[1:-1]:
        bare = re.sub(r"\\[&%$#_{}]", "", line)
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        outside = re.sub(r"\$[^$]*\$", "", bare)
        assert not re.search(r"[%#_^~<>]", outside), line
        assert outside.isascii()
        if line.endswith(r" \\") and not line.startswith(r"\multicolumn"):
            assert not line.startswith("[")
            counts.append(outside.count("&") + 1)
    return counts


def test_latex_of_a_report_is_well_formed(mixed: Contents, tmp_path: Path) -> None:
    files = table_files(mixed)
    table, compared = (parse_tabular(files[name]) for name in ("table.tex", "comparisons.tex"))
    assert (len(table), len(set(table))) == (1 + len(mixed.summaries), 1)
    assert (len(compared), len(set(compared))) == (1 + sum(len(each.effects) for each in mixed.comparisons), 1)
    assert f"l{'r' * (table[0] - 1)}" in files["table.tex"].splitlines()[2]
    hostile = [r"a&b_c%d#e$f{g}h~i^j\k", "line\nend % }", "[x]", '<|>"']
    cells = [column("run", *((text, text) for text in hostile)), column("x", *[("1e-30", "[-1, 2]")] * 4)]
    assert parse_tabular(latex_table([("a_b", cells)], note="% }\n\\end{tabular}")) == [2] * 5


class Cells(HTMLParser):
    """Labels of the cells of each row, and the headers of each table."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.headers: list[list[str]] = []
        self.rows: list[list[str | None]] = []
        self.in_header = False
        self.feed(source)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.in_header = tag == "th"
        if tag == "table":
            self.headers.append([])
        elif tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append(dict(attrs)["data-label"])

    @override
    def handle_data(self, data: str) -> None:
        if self.in_header and data.strip():
            self.headers[-1].append(data)


def test_cells_of_the_page_are_labelled_and_what_is_shared_is_said(tmp_path: Path) -> None:
    contents = contents_of(write_sweep(tmp_path))
    source = render(contents, {})
    found = Cells(source)
    assert [len(headers) for headers in found.headers] == [len(contents.table.columns), len(contents.paired.columns)]
    labelled = [row for row in found.rows if row]
    assert labelled == [found.headers[0]] * 9 + [found.headers[1]] * 6
    for table in (contents.table, contents.paired):
        assert table.shared
        assert f"<p>{table.shared}</p>" in source
        assert all(f"<dt>{each.header}</dt>" in source for each in table.every)


def test_a_number_in_a_csv_is_kept_and_a_formula_is_not() -> None:
    rows = [{"a": math.nan, "b": math.inf, "c": -math.inf, "d": None, "e": "=1+1", "f": "-1.5", "g": 0.1}]
    assert to_csv(rows).splitlines()[1] == "NaN,Inf,-Inf,,'=1+1,-1.5,0.1"


def test_configurations_over_several_tasks_have_a_table(tmp_path: Path) -> None:
    for model, speed in (("gru", 200.0), ("lstm", 0.0)):
        for lag in (9, 20):
            spec = Synthetic(model=model, speed=speed, probes=2, settings={"task": {"lag": lag}})
            write_run(tmp_path / f"{model}-{lag}", spec)
    contents = contents_of(tmp_path)
    solved = next(column for column in contents.levels.every if column.header == "solved")
    assert [main for main, _ in solved.cells] == ["1.00", "0.00"]
    assert contents.levels.shared.startswith("Both configurations: tasks 2, n 16")
    assert "**Over all tasks**" in table_files(contents)["table.md"]
    assert "<h2>Over all tasks</h2>" in render(contents, {})
    assert contents_of(tmp_path / "gru-9", tmp_path / "gru-20").levels.every == ()
