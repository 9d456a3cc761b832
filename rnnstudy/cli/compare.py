"""The options of `rnnstudy compare`."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from rnnstudy.runs.plan import CORRECTIONS, MEASURES

_REPEATED: dict[str, Any] = {"action": "append", "default": []}


def add_compare(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    compare = commands.add_parser(
        "compare",
        help="compare the runs below some folders: tables, statistics and a report",
        description="Compare runs: what differs between them makes the rows; every run is compared, replica by "
        "replica, with its baseline. A sweep that still runs is compared as far as it is.",
    )
    compare.add_argument("directories", type=Path, nargs="+", metavar="DIR", help="folder with runs at any depth")
    choosing = compare.add_argument_group("which runs")
    choosing.add_argument(
        "--where",
        **_REPEATED,
        metavar="KEY=VALUE",
        help="only runs with this setting, such as task.lag=100, model=lstm,gru (any of them) or mitigation=[]; the "
        "last part of a path does: lag=100. May be repeated: all are to be met",
    )
    choosing.add_argument(
        "--baseline",
        **_REPEATED,
        metavar="KEY=VALUE",
        help="compare every other run with the run that has this setting and is like it in all else (mitigation=[] or "
        "init=[] where there are such runs)",
    )
    testing = compare.add_argument_group("what is tested (by default as the plan stored with the runs has it)")
    testing.add_argument(
        "--measure",
        choices=MEASURES,
        metavar="MEASURE",
        help=f"the primary measure, which decides: {', '.join(MEASURES)} (solved where the task has a criterion, else "
        "loss)",
    )
    testing.add_argument(
        "--correct",
        choices=CORRECTIONS,
        help="correction of the p-values for all differences on the page (max-t: joint sign flips; holm; none)",
    )
    order = compare.add_argument_group("in what order")
    order.add_argument(
        "--sort",
        **_REPEATED,
        metavar="COLUMN",
        help="by a column of the table or a setting; the largest first with :desc: accuracy:desc. May be repeated",
    )
    order.add_argument("--group-by", **_REPEATED, metavar="KEY", help="a table for each value of a setting")
    writing = compare.add_argument_group("output")
    place = "folder of the report (report, in DIR or beside several)"
    writing.add_argument("--output", type=Path, metavar="DIR", help=place)
    markdown = "print the tables as Markdown, for a paper; all else goes to the standard error"
    formats = writing.add_mutually_exclusive_group()
    formats.add_argument("--markdown", action="store_true", help=markdown)
    formats.add_argument("--latex", action="store_true", help="likewise as LaTeX, of the package booktabs")
    paper = "also write each figure as PDF for a column of print: 3.25 inches wide, text at 8 points (draws all twice)"
    writing.add_argument("--paper", action="store_true", help=paper)
    compare.set_defaults(function=_compare)


def _compare(options: argparse.Namespace, console: Console) -> int:
    from rnnstudy.report.compare import Request, compare

    repeated = ("directories", "where", "baseline", "sort", "group_by")
    lists = {name: tuple(getattr(options, name)) for name in repeated}
    own = {name: getattr(options, name) for name in ("output", "markdown", "latex", "paper", "measure", "correct")}
    request = Request(**lists, **own)
    # It is often redirected to a file, which must hold the tables alone.
    compare(request, console, Console(stderr=True) if options.markdown or options.latex else None)
    return 0
