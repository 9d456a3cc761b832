"""`rnnstudy bench`: the options of the benchmarks, checked before anything is measured."""

import argparse
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from rich.console import Console

from rnnstudy.core.errors import RnnstudyError, require_above, require_at_least, suggest

CELLS = ("rnn", "gru", "lstm")
SIZES = ("S1", "S2", "S3")
"""Names in bench/baselines.py, which imports torch: too slow for an error or a help text."""

_SIMULATED = ("sweeps", "configurations", "seed")

SETTINGS = ("cells", "models", "sizes", "replicas", "seconds", "device", "steps", "runs", *_SIMULATED, "json")
"""Options of any benchmark; its function takes them by these names, except for the path of the JSON file."""


def add_bench(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its subcommands."""
    bench = commands.add_parser("bench", help="measure what the engine and a run cost on this machine")
    kinds = bench.add_subparsers(dest="benchmark", title="benchmarks", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        parser = kinds.add_parser(name, help=text)
        parser.set_defaults(function=partial(_measure, name))
        return parser

    engine = add("engine", "a training step with every dL/dh_t, against plain torch.nn without")
    _add_names(engine, "cells", CELLS)
    _add_names(engine, "sizes", SIZES)
    engine.add_argument("--replicas", default="8,1", help="networks at once, such as 8,1")
    _add_seconds(engine, 6.0, "line")
    engine.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or auto")
    memory = add("memory", "peak memory of a training step, and growth with the sequence's length")
    _add_names(memory, "cells", CELLS)
    train = add("train", "where the time of a run goes, at the default schedule")
    _add_names(train, "models", CELLS)
    train.add_argument("--steps", type=int, default=2000, help="optimizer steps of each run (2000, the default run)")
    sweep = add("sweep", "what the machinery of a sweep costs, and what several cores bring")
    sweep.add_argument("--steps", type=int, default=1000, help="optimizer steps of the runs that are compared (1000)")
    sweep.add_argument("--runs", type=int, default=24, help="runs of the larger of two sweeps, more than 4 (24)")
    _add_seconds(add("models", "a training step of every model, beside the vanilla network's"), 2.0, "model")
    instruments = add("instruments", "what each instrument costs, against the training step")
    _add_names(instruments, "models", CELLS)
    _add_seconds(instruments, 2.0, "line")
    _add_seconds(add("tasks", "what drawing the batches costs, against a training step"), 1.5, "task")
    statistics = add("statistics", "how often verdicts of compare are wrong or missing, on simulated sweeps")
    statistics.add_argument("--sweeps", type=int, default=500, help="simulated sweeps per figure (500)")
    statistics.add_argument("--replicas", default="4,8,16,32", help="replicas of a run, such as 8,16 (4,8,16,32)")
    text = "runs of a sweep (10,2,5,20); all kinds of figures with the first number, one kind with the others"
    statistics.add_argument("--configurations", default="10,2,5,20", help=text)
    statistics.add_argument("--seed", type=int, default=0, help="seed of the simulation (0)")
    for parser in kinds.choices.values():
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file, too")


def _add_names(parser: argparse.ArgumentParser, name: str, known: tuple[str, ...]) -> None:
    parser.add_argument(f"--{name}", default=",".join(known), help=f"some of {','.join(known)} (all)")


def _add_seconds(parser: argparse.ArgumentParser, default: float, what: str) -> None:
    text = f"measure each {what} at least this long ({default:g})"
    parser.add_argument("--seconds", type=float, default=default, help=text)


def _measure(benchmark: str, options: argparse.Namespace, console: Console) -> int:
    """Check the options of a benchmark, in the order in which the help lists them, and run it with them."""
    settings = {name: _checked(name, value) for name, value in vars(options).items() if name in SETTINGS}
    # By name, since the modules import torch: too slow before the options are known to be good.
    measure = resolve_name(f"rnnstudy.bench.{benchmark}:measure_{benchmark}")
    measure(console, path=settings.pop("json"), **settings)
    return 0


def _checked(name: str, value: Any) -> Any:
    match name:
        case "cells" | "models":
            return _chosen(name, value, CELLS)
        case "sizes":
            return _chosen(name, value, SIZES)
        case "replicas":
            return [_whole(name, part) for part in value.split(",")]
        case "configurations":
            return [_whole(name, part, least=2) for part in value.split(",")]
        case "seconds":
            require_above("--seconds", value, 0)
        case "steps" | "sweeps":
            require_at_least(f"--{name}", value, 1)
        case "seed":
            require_at_least("--seed", value, 0)
        case "runs":
            require_at_least("--runs", value, 5)
        case "json":
            require_place(value)
    return value


def _chosen(name: str, given: str, known: Iterable[str]) -> list[str]:
    """Split a list of names into distinct ones; raise RnnstudyError for an unknown one."""
    names = list(dict.fromkeys(given.split(",")))
    for wrong in (each for each in names if each not in known):
        raise RnnstudyError(f"--{name} does not know '{wrong}'. {suggest(wrong, known)}")
    return names


def _whole(name: str, given: str, *, least: int = 1) -> int:
    """Read one of several numbers; raise RnnstudyError unless it is a whole number of at least `least`."""
    if not given.isdecimal():
        raise RnnstudyError(f"--{name} takes whole numbers such as 8,2, got '{given}'.")
    require_at_least(f"--{name}", int(given), least)
    return int(given)


def require_place(path: Path | None) -> None:
    """Raise RnnstudyError if the path is a folder or its folder is missing, before minutes are spent on measuring."""
    if path is None:
        return
    if path.is_dir():
        raise RnnstudyError(f"--json must name a file, but {path} is a folder.")
    if not path.absolute().parent.is_dir():
        raise RnnstudyError(f"--json must name a file in a folder that exists; there is no {path.absolute().parent}.")
