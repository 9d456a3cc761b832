"""The comparison of runs: reading, choosing, comparing, showing and writing."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.core.text import join, printable
from rnnstudy.report.analysis.comparison import Comparison, compare_all
from rnnstudy.report.analysis.naming import name_runs
from rnnstudy.report.analysis.pooling import Pool, kept_apart, pool_runs
from rnnstudy.report.analysis.summary import Summary, figures_at, read_logs, summarise
from rnnstudy.report.baseline import default_baseline, match_baselines
from rnnstudy.report.contents import MAX_DRAWN, Contents
from rnnstudy.report.figures.draw import FILES, draw_all, print_all
from rnnstudy.report.page.html import render
from rnnstudy.report.select import group_rows, read_conditions, sort_rows
from rnnstudy.report.sentences.notes import first_of, notes, shortened
from rnnstudy.report.show import latex_tables, markdown_tables, show_tables
from rnnstudy.report.tables.tidy import pair_rows, replica_rows, run_row, to_csv
from rnnstudy.runs.collection import MAX_CHECKED, Sweep, read_sweep
from rnnstudy.runs.fields import UnreadableRunError
from rnnstudy.runs.find import REPORT
from rnnstudy.runs.folder import write_atomically
from rnnstudy.runs.plan import ComparisonPlan, read_plan
from rnnstudy.runs.run import Run

DRAWN_OF_MANY = 24
"""Runs in the figures of so many runs that most cannot be shown anyway; drawing takes longer than the rest."""

PAGE = "report.html"

EVER_WRITTEN = {*FILES, "comparisons.csv", "comparisons.tex"}
"""Files that only some reports have, of this version and older ones."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A comparison as the user asks for it.

    Args:
        directories: Folders with runs at any depth.
        where: Conditions that all runs meet, such as "task.lag=100".
        baseline: Conditions that baselines meet, such as "mitigation=[]".
        sort: Columns or settings, the most important first.
        group_by: Settings; each of their values gets a section of the table.
        output: Folder of the report; None for one beside the runs.
        markdown: Whether the tables are printed as Markdown.
        latex: Whether the tables are printed as LaTeX.
        paper: Whether the figures are also written as PDF for a column of print.
        measure: Primary measure; None for that of the plan stored with the runs, if any.
        correct: Correction of the p-values, likewise.
    """

    directories: tuple[Path, ...]
    where: tuple[str, ...] = ()
    baseline: tuple[str, ...] = ()
    sort: tuple[str, ...] = ()
    group_by: tuple[str, ...] = ()
    output: Path | None = None
    markdown: bool = False
    latex: bool = False
    paper: bool = False
    measure: str | None = None
    correct: str | None = None


def compare(request: Request, console: Console, aside: Console | None = None) -> Path:
    """Return the path of the page, after printing the tables and sentences and writing the report.

    The tables go to `console`, all else to `aside` if given. Raise RnnstudyError if there is nothing to compare, an
    option is wrong, or a folder cannot be written to.
    """
    contents = assemble(request)
    aside = aside or console
    if request.markdown or request.latex:
        text = markdown_tables(contents) if request.markdown else "\n".join(latex_tables(contents).values())
        console.print("\n".join(map(printable, text.split("\n"))), soft_wrap=True, highlight=False, markup=False)
    else:
        show_tables(contents, console)
    path = contents.folder / PAGE
    for line in (*contents.verdicts, *(f"Note: {note}" for note in shortened(contents.notes, path))):
        aside.print(Text(printable(line)))
    write_report(contents, paper=request.paper)
    aside.print(Text(printable(f"Report: {path}")), soft_wrap=True)
    return path


def assemble(request: Request) -> Contents:
    """Return a report's contents, before any drawing; raise RnnstudyError if no run is left, or an option is wrong."""
    sweep = read_sweep(*request.directories)
    chosen = _chosen(request, sweep)
    pools = {pool.first.path: pool for pool in pool_runs(chosen)}
    named = name_runs([pool.first for pool in pools.values()], pooled=True)
    summaries = [summarise(each, pools[each.run.path]) for each in named]
    plan, is_planned, differing = _plan(request, chosen)
    baseline, comparisons, remarks = _compared(plan, summaries, pools)
    tasks = {run.choices.get("task") for run in chosen}
    group_by = request.group_by or (("task",) if len(tasks) > 1 else ())
    groups = group_rows(sort_rows(summaries, request.sort), group_by)
    drawn, undrawn = _with_logs([summary for group in groups for summary in group.summaries], pools)
    names = ", ".join(dict.fromkeys(directory.resolve().name for directory in request.directories))
    return Contents(
        title=f"Comparison of {len(chosen)} run{'s' if len(chosen) != 1 else ''}: {names}",
        folder=report_folder(request),
        groups=groups,
        comparisons=tuple(comparisons),
        baseline=baseline,
        correction=plan.correct,
        planned=is_planned,
        drawn=tuple(drawn),
        notes=(*notes(sweep, summaries), *first_of(kept_apart(list(pools.values()))), *differing, *remarks, *undrawn),
    )


def report_folder(request: Request) -> Path:
    """Return the folder of the report: the requested one, one inside the only folder, or one beside several folders.

    Raises:
        ConfigError: Several folders share only the root of the file system, or the folder is a link, which a
            stranger's folder may bring along.
    """
    if request.output is not None:
        return request.output
    parent = request.directories[0]
    if len(request.directories) > 1:
        parent = Path(os.path.commonpath([directory.resolve() for directory in request.directories]))
        if parent == Path(parent.anchor):
            raise ConfigError("The folders have no folder in common for the report: choose one by --output DIR.")
    folder = parent / REPORT
    if folder.is_symlink():
        raise ConfigError(f"{folder} is a link to {os.readlink(folder)}: say where the report goes by --output DIR.")
    return folder


def _chosen(request: Request, sweep: Sweep) -> list[Run]:
    """Return the runs that meet the conditions; raise ConfigError if none does."""
    conditions = read_conditions(request.where, sweep.runs, option="--where")
    chosen = [run for run in sweep.runs if all(condition.is_met_by(run) for condition in conditions)]
    if not chosen:
        told = " and ".join(condition.text for condition in conditions)
        raise ConfigError(f"No run meets --where {told}: some meet each of them, but none all.")
    return chosen


def _plan(request: Request, runs: Sequence[Run]) -> tuple[ComparisonPlan, bool, list[str]]:
    """Return what is compared and how, whether the runs' own plan decides all of it, and notes where it does not."""
    try:
        plans = list(dict.fromkeys(read_plan(run.config) for run in runs))
    except ConfigError as error:
        plans, remarks = [], [f"The plan of the study cannot be read: {error}"]
    else:
        remarks = []
    if len(plans) > 1:
        remarks = [f"The runs have {len(plans)} different plans (compare.measure, .baseline, .correct): none is used."]
    stored = plans[0] if len(plans) == 1 else ComparisonPlan()
    asked = {"measure": request.measure, "correct": request.correct, "baseline": ",".join(request.baseline) or None}
    plan = replace(stored, **{key: value for key, value in asked.items() if value is not None})
    is_planned = stored != ComparisonPlan()
    if is_planned and plan != stored:
        changed = [
            f"{key} {getattr(stored, key) or 'the default'}"
            for key in asked
            if getattr(plan, key) != getattr(stored, key)
        ]
        remarks.append(f"Not as planned: the plan stored with the runs has {join(changed)}.")
    elif is_planned:
        told = [f"{key} {value}" for key in asked if (value := getattr(plan, key))]
        remarks.append(f"Planned before the results, and stored with the runs: {join(told)}.")
    return plan, is_planned and plan == stored, remarks


def _compared(
    plan: ComparisonPlan, summaries: Sequence[Summary], pools: Mapping[Path, Pool]
) -> tuple[str, list[Comparison], list[str]]:
    """Return the condition on baselines, the comparisons of all other runs with them, and notes on these."""
    given = plan.baseline or default_baseline(summaries)
    if not given:
        return "", [], [] if len(summaries) == 1 else [_advice(summaries)]
    conditions = read_conditions([given], summaries, option="--baseline")
    pairs, remarks = match_baselines(summaries, conditions)
    comparisons = compare_all(
        pairs,
        figures_at=lambda each, step: figures_at(pools[each.path], step),
        measure=plan.measure,
        correct=plan.correct,
    )
    remarks += first_of([note for comparison in comparisons for note in comparison.notes])
    return ", ".join(condition.text for condition in conditions), comparisons, remarks


def _advice(summaries: Sequence[Summary]) -> str:
    """Suggest choosing a baseline, with an example from the runs."""
    differing = summaries[0].differing
    key = next((key for key in differing if key.partition(".")[0] not in {"task", "seed", "replicas"}), None)
    example = "" if key is None else f", say --baseline {shlex.quote(f'{key}={differing[key]}')}"
    return f"Nothing is compared in pairs: choose a baseline{example}."


def _with_logs(summaries: Sequence[Summary], pools: Mapping[Path, Pool]) -> tuple[list[Summary], list[str]]:
    """Return the first runs with readable logs, including these, for the figures, and notes on the rest."""
    drawn, remarks = list[Summary](), list[str]()
    most = MAX_DRAWN if len(summaries) <= MAX_CHECKED else DRAWN_OF_MANY
    for summary in summaries:
        if len(drawn) == most:
            remarks.append(f"Figures show the first {most} of {len(summaries)} runs; --where and --sort choose them.")
            break
        pool = pools[summary.path]
        try:
            drawn.append(replace(summary, logs=read_logs(pool)))
        except (UnreadableRunError, OSError) as error:
            remarks.append(f"Not drawn: {summary.label}: {error}")
        finally:
            for run in pool.runs:
                run.forget_logs()
    return drawn, remarks


def write_report(contents: Contents, *, paper: bool = False) -> Path:
    """Write the page, figures and tables in place of earlier ones; return the page's path, or raise RnnstudyError."""
    drawings = draw_all(contents)
    files = {f"{drawing.file}.png": drawing.png for drawing in drawings.values()}
    files |= {f"{drawing.file}.svg": drawing.svg for drawing in drawings.values()}
    if paper:
        files |= {f"{name}.pdf": pdf for name, pdf in print_all(contents).items()}
    texts = table_files(contents) | {PAGE: render(contents, drawings)}
    # A folder's name need not be UTF-8.
    files |= {name: text.encode(errors="replace") for name, text in texts.items()}
    folder = contents.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in EVER_WRITTEN - set(files):
            (folder / stale).unlink(missing_ok=True)
        for name, data in files.items():
            write_atomically(folder / name, data)
    except OSError as error:
        raise RnnstudyError(f"The report cannot be written to {folder}: {error.strerror}.") from error
    return folder / PAGE


def table_files(contents: Contents) -> dict[str, str]:
    """Return the tables as files: name to text."""
    files = {
        "table.csv": to_csv([row for summary in contents.summaries for row in replica_rows(summary)]),
        "runs.csv": to_csv([run_row(summary) for summary in contents.summaries]),
        "table.md": markdown_tables(contents),
        **latex_tables(contents),
    }
    if contents.comparisons:
        files["comparisons.csv"] = to_csv(pair_rows(contents.comparisons, contents.correction))
    return files
