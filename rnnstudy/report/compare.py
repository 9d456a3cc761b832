"""The comparison of all runs below a folder."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.core.run_folder import write_atomically
from rnnstudy.report.figures import FILES, draw_all
from rnnstudy.report.headline import headline, notes
from rnnstudy.report.html import render
from rnnstudy.report.naming import name_runs
from rnnstudy.report.read import REPORT, read_sweep
from rnnstudy.report.table import columns, summarise, terminal_table, to_csv

EXPLAINED = {"solved", "log ratio", "active"}
"""Columns whose headers do not speak for themselves."""


def compare(directory: Path, console: Console) -> Path:
    """Compare all runs at or below a folder.

    A folder without a readable run, or one that cannot be written to, is an RnnstudyError.

    Args:
        directory: Its `report` folder receives `report.html`, `table.csv` and the figures.
        console: Where the table and the notes go.

    Returns:
        The path of `report.html`.
    """
    sweep = read_sweep(directory)
    entries = name_runs(sweep.runs)
    summaries = [summarise(entry) for entry in entries]
    table = columns(summaries)
    sentences, remarks = headline(summaries), notes(sweep, summaries)
    console.print(terminal_table(table))
    for column in table:
        if column.header in EXPLAINED or column.header.startswith("at "):
            console.print(Text(f"{column.header}: {column.meaning}", style="dim"))
    for line in (*sentences, *(f"Note: {remark}" for remark in remarks)):
        console.print(Text(line))
    drawings = draw_all(entries)
    title = f"Comparison of {len(entries)} run{'s' if len(entries) != 1 else ''}: {directory.resolve().name}"
    page = render(summaries, table, drawings, title=title, headline=sentences, notes=remarks)
    files = {drawing.file: drawing.png for drawing in drawings.values()}
    files |= {"table.csv": to_csv(summaries).encode(), "report.html": page.encode()}
    _write(directory / REPORT, files)
    path = directory / REPORT / "report.html"
    console.print(Text(f"Report: {path}"), soft_wrap=True)
    return path


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    try:
        folder.mkdir(exist_ok=True)
        for stale in set(FILES) - set(files):
            (folder / stale).unlink(missing_ok=True)
        for name, data in files.items():
            write_atomically(folder / name, data)
    except OSError as error:
        raise RnnstudyError(f"The report cannot be written to {folder}: {error.strerror}.") from error
