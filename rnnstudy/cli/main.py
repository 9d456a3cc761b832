"""The command `rnnstudy`."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from io import TextIOBase
from pathlib import Path
from typing import TextIO, cast

from rich.console import Console

import rnnstudy
from rnnstudy.cli.bench import add_bench
from rnnstudy.cli.compare import add_compare
from rnnstudy.cli.output import Lasting, say
from rnnstudy.cli.status import add_status
from rnnstudy.cli.theory import add_theory
from rnnstudy.cli.tune import add_tune
from rnnstudy.cli.verify import add_verify
from rnnstudy.core.errors import Interrupted, RnnstudyError
from rnnstudy.core.text import printable
from rnnstudy.runs.folder import RunFolder

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Arguments without the program's name; those of the command line if None.

    Returns:
        The exit code: 0, 1 for a user's error, 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Either may be closed, as `rnnstudy ... >&-` does.
    streams = cast(tuple[TextIOBase | None, ...], (sys.stdout, sys.stderr))
    output, complaints = (None if stream is None else Lasting(stream) for stream in streams)
    errors = Console(file=cast(TextIO | None, complaints), stderr=True)
    code = _run(given, Console(file=cast(TextIO | None, output)), errors)
    # A reader that has left is not an error.
    if output is None or output.error is None or isinstance(output.error, BrokenPipeError):
        return code
    say(errors, f"rnnstudy: what was to be shown cannot be written: {output.error.strerror}.")
    return code or 1


def _run(given: list[str], console: Console, errors: Console) -> int:
    """Run a command and report its errors; return the exit code."""
    try:
        return _dispatch(given, console)
    except RnnstudyError as error:
        say(errors, f"rnnstudy: {error}")
        return 1
    except Interrupted as stopped:
        say(errors, f"rnnstudy: {stopped}. To go on: rnnstudy {shlex.join(given)}")
        return INTERRUPTED
    except KeyboardInterrupt:
        say(errors, "rnnstudy: stopped. The same command goes on, from the last checkpoint if there is one.")
        return INTERRUPTED


def _dispatch(given: list[str], console: Console) -> int:
    # All that follows "train" is Hydra's, flags included.
    if given[:1] == ["train"]:
        return _train(given[1:], console)
    if given[:1] == ["show"] and not {"-h", "--help"} & set(given):
        from rnnstudy.study.show import show

        show(given[1:], console)
        return 0
    parser = _parser()
    options, rest = parser.parse_known_args(given)
    if options.command == "tune" and not any(argument.startswith("-") for argument in rest):
        # argparse takes no overrides after an option.
        options.overrides += rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if options.command is None:
        parser.print_help()
        return 0
    return options.function(options, console)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rnnstudy", description="Train recurrent networks, watch every hidden state's exact gradient, compare."
    )
    parser.add_argument("--version", action="version", version=f"rnnstudy {rnnstudy.__version__}")
    commands = parser.add_subparsers(dest="command", title="commands")
    commands.add_parser("train", help="train one configuration or a sweep: train model=lstm task.lag=40; train --help")
    show = commands.add_parser(
        "show",
        help="print a sequence of a task, what is asked and what chance gets: show task=copy_memory",
        description="Print a sequence of a task as a run would train on it, what is asked of it and what chance gets.",
    )
    show.add_argument("overrides", nargs="*", help="as for train, such as task=copy_memory task.delay=20 seed=3")
    add_tune(commands)
    add_status(commands)
    add_compare(commands)
    board = commands.add_parser("board", help="start TensorBoard on the runs below a folder")
    board.add_argument("directory", type=Path, help="folder with runs at any depth")
    board.add_argument("--port", type=int, default=None, help="default: 6006, or the next that is free; 0: any")
    board.add_argument("--host", default="localhost", help="name or address to listen on; default: this machine alone")
    board.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="further name to answer to, as of a proxy"
    )
    board.set_defaults(function=_board)
    add_theory(commands)
    add_verify(commands)
    add_bench(commands)
    return parser


def _train(arguments: list[str], console: Console) -> int:
    from rnnstudy.runs.failure import UnfinishedError
    from rnnstudy.study.sweep.train import train

    try:
        _lead_on(train(arguments, console), console)
    except UnfinishedError as error:
        _lead_on(error.runs, console)
        raise
    return 0


def _lead_on(runs: Sequence[RunFolder], console: Console) -> None:
    for folder in sorted({run.path.parent for run in runs}):
        place = shlex.quote(printable(str(folder)))
        say(console, f"\nCompare the runs:   rnnstudy compare {place}\nSee the gradients:  rnnstudy board {place}")


def _board(options: argparse.Namespace, console: Console) -> int:
    from rnnstudy.cli.board.serve import Place, board

    place = Place(host=options.host, port=options.port, allowed=options.allow_host)
    return board(options.directory, place, console)
