"""`rnnstudy bench`: the options of the benchmarks, checked before anything is measured."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console

from rnnstudy.core.errors import RnnstudyError, require_above, require_at_least, suggest

CELLS = ("rnn", "gru", "lstm")
SIZES = ("S1", "S2", "S3")
"""The names in bench/contestants.py, which imports torch: too slow for an error or a help text."""


def add_bench(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its subcommands."""
    bench = commands.add_parser("bench", help="measure what the engine and a run cost on this machine")
    kinds = bench.add_subparsers(dest="benchmark", title="benchmarks", required=True)

    engine = kinds.add_parser("engine", help="a training step with every dL/dh_t, against plain torch.nn without")
    _add_names(engine, "cells", CELLS)
    _add_names(engine, "sizes", SIZES)
    engine.add_argument("--replicas", default="8,1", help="networks at once, such as 8,1")
    engine.add_argument("--seconds", type=float, default=6.0, help="measure each line at least this long (6)")
    engine.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or auto")
    _add_json(engine, _engine)

    memory = kinds.add_parser("memory", help="peak memory of a training step, and growth with the sequence's length")
    _add_names(memory, "cells", CELLS)
    _add_json(memory, _memory)

    train = kinds.add_parser("train", help="where the time of a run goes, at the default schedule")
    _add_names(train, "models", CELLS)
    train.add_argument("--steps", type=int, default=2000, help="optimizer steps of each run (2000, the default run)")
    _add_json(train, _train)

    sweep = kinds.add_parser("sweep", help="what the machinery of a sweep costs, and what several cores bring")
    sweep.add_argument("--steps", type=int, default=1000, help="optimizer steps of the runs that are compared (1000)")
    sweep.add_argument("--runs", type=int, default=24, help="runs of the larger of two sweeps, more than 4 (24)")
    _add_json(sweep, _sweep)

    models = kinds.add_parser("models", help="a training step of every model, beside the vanilla network's")
    models.add_argument("--seconds", type=float, default=2.0, help="measure each model at least this long (2)")
    _add_json(models, _models)

    instruments = kinds.add_parser("instruments", help="what each instrument costs, against the training step")
    _add_names(instruments, "models", CELLS)
    instruments.add_argument("--seconds", type=float, default=2.0, help="measure each line at least this long (2)")
    _add_json(instruments, _instruments)

    tasks = kinds.add_parser("tasks", help="what drawing the batches costs, against a training step")
    tasks.add_argument("--seconds", type=float, default=1.5, help="measure each task at least this long (1.5)")
    _add_json(tasks, _tasks)


def _add_names(parser: argparse.ArgumentParser, name: str, known: tuple[str, ...]) -> None:
    parser.add_argument(f"--{name}", default=",".join(known), help=f"some of {','.join(known)} (all)")


def _add_json(parser: argparse.ArgumentParser, function: Callable[[argparse.Namespace, Console], int]) -> None:
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the figures to this file, too")
    parser.set_defaults(function=function)


def _engine(options: argparse.Namespace, console: Console) -> int:
    cells, sizes = _chosen("cells", options.cells, CELLS), _chosen("sizes", options.sizes, SIZES)
    replicas = [_whole(part) for part in options.replicas.split(",")]
    require_above("--seconds", options.seconds, 0)
    require_place(options.json)

    from rnnstudy.bench.engine import EngineBenchmark
    from rnnstudy.core.numerics import select_device

    device = select_device(options.device)
    benchmark = EngineBenchmark(cells=cells, sizes=sizes, replicas=replicas, device=device, seconds=options.seconds)
    benchmark.run(console, options.json)
    return 0


def _memory(options: argparse.Namespace, console: Console) -> int:
    cells = _chosen("cells", options.cells, CELLS)
    require_place(options.json)

    from rnnstudy.bench import memory

    memory.run(console, cells, options.json)
    return 0


def _train(options: argparse.Namespace, console: Console) -> int:
    models = _chosen("models", options.models, CELLS)
    require_at_least("--steps", options.steps, 1)
    require_place(options.json)

    from rnnstudy.bench import train

    train.run(console, models, options.steps, options.json)
    return 0


def _sweep(options: argparse.Namespace, console: Console) -> int:
    require_at_least("--steps", options.steps, 1)
    require_at_least("--runs", options.runs, 5)
    require_place(options.json)

    from rnnstudy.bench import sweep

    sweep.run(console, steps=options.steps, many=options.runs, path=options.json)
    return 0


def _models(options: argparse.Namespace, console: Console) -> int:
    require_above("--seconds", options.seconds, 0)
    require_place(options.json)

    from rnnstudy.bench import models

    models.run(console, options.seconds, options.json)
    return 0


def _instruments(options: argparse.Namespace, console: Console) -> int:
    models = _chosen("models", options.models, CELLS)
    require_above("--seconds", options.seconds, 0)
    require_place(options.json)

    from rnnstudy.bench import instruments

    instruments.run(console, models, options.seconds, options.json)
    return 0


def _tasks(options: argparse.Namespace, console: Console) -> int:
    require_above("--seconds", options.seconds, 0)
    require_place(options.json)

    from rnnstudy.bench import tasks

    tasks.run(console, options.seconds, options.json)
    return 0


def _chosen(name: str, given: str, known: Iterable[str]) -> list[str]:
    """Split a list of names.

    Returns:
        The names, each once.

    Raises:
        RnnstudyError: One is not known.
    """
    names = list(dict.fromkeys(given.split(",")))
    for wrong in (each for each in names if each not in known):
        raise RnnstudyError(f"--{name} does not know '{wrong}'. {suggest(wrong, known)}")
    return names


def _whole(given: str) -> int:
    """Read a number of replicas.

    Returns:
        The number.

    Raises:
        RnnstudyError: It is none, or less than 1.
    """
    if not given.isdecimal():
        raise RnnstudyError(f"--replicas takes whole numbers such as 8,1, got '{given}'.")
    require_at_least("--replicas", int(given), 1)
    return int(given)


def require_place(path: Path | None) -> None:
    """Refuse a file that cannot be written, before minutes are spent on measuring.

    Raises:
        RnnstudyError: There is no such folder, or a folder of this name.
    """
    if path is None:
        return
    if path.is_dir():
        raise RnnstudyError(f"--json must name a file, but {path} is a folder.")
    if not path.absolute().parent.is_dir():
        raise RnnstudyError(f"--json must name a file in a folder that exists; there is no {path.absolute().parent}.")
