"""`rnnstudy status`: the state of every run in a folder, and how to resume it."""

import argparse
import json
from pathlib import Path

from rich.console import Console

from rnnstudy.cli.output import say

STYLES = {"failed": "red", "damaged": "red", "running": "bold", "finished": "dim", "interrupted": "yellow"}


def add_status(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "status",
        help="list what is finished, running, interrupted, failed or missing, and how to go on",
        description="List every run below some folders, and of those that were asked for there: running (by whom), "
        "failed (why), interrupted, missing; and the commands that go on.",
    )
    parser.add_argument("directories", nargs="+", type=Path, help="folders with runs at any depth")
    parser.add_argument("--all", action="store_true", help="list finished runs too, not only how many there are")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(function=_status)


def _status(options: argparse.Namespace, console: Console) -> int:
    from rnnstudy.study.status import Condition, list_runs

    listing = list_runs(options.directories)
    if options.json:
        say(console, json.dumps(listing.to_json(), indent=2))
        return 0
    shown = [run for run in listing.runs if options.all or run.condition is not Condition.FINISHED]
    width = max((len(run.condition) for run in shown), default=0)
    for run in shown:
        steps = "" if run.step is None else f"step {run.step}" + (f"/{run.num_steps}" if run.num_steps else "")
        told = [run.condition.ljust(width), str(run.folder.path), steps, run.detail]
        say(console, "  ".join(part for part in told if part), STYLES.get(run.condition))
    if shown:
        say(console, "")
    counts = ", ".join(f"{listing.counts[each]} {each}" for each in Condition if listing.counts[each])
    say(console, f"{len(listing.runs)} run{'s' * (len(listing.runs) != 1)}: {counts}")
    unless = ", unless a sweep that is running does them" if listing.counts[Condition.RUNNING] else ""
    for command, count in listing.commands.items():
        say(console, f"\nTo go on with {count} of them{unless}:\n  {command}")
    return 0
