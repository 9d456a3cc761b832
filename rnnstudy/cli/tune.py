"""`rnnstudy tune`: a search for the configuration that learns best."""

import argparse
import importlib.util
from dataclasses import replace

from rich.console import Console

from rnnstudy.core.errors import RnnstudyError


def add_tune(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "tune",
        help="search a space of configurations with Optuna: tune coconut_water task.lag=40",
        description="Search a space of configurations with Optuna. Every trial is a run like any other; hopeless ones "
        "are given up. The same command goes on with a search, and several processes may share one.",
    )
    parser.add_argument("search", help="a file in conf/search without .yaml, or the path of a yaml file")
    parser.add_argument("overrides", nargs="*", help="what all trials share, as for train: task.lag=40 study=NAME")
    parser.add_argument("--trials", type=int, default=None, help="trials in all; default: what the search says")
    parser.set_defaults(function=_tune)


def _tune(options: argparse.Namespace, console: Console) -> int:
    for name in ("optuna", "sqlalchemy"):
        if importlib.util.find_spec(name) is None:
            raise RnnstudyError("rnnstudy tune needs Optuna: pip install 'rnnstudy[tune]'")
    from rnnstudy.study.search.space import Tuning, read_search

    name, search = read_search(options.search)
    if options.trials is not None:
        search = replace(search, trials=options.trials)
    overrides = list(options.overrides)
    if not any(override.partition("=")[0] in {"study", "output_dir"} for override in overrides):
        overrides.append(f"study=tune_{name}")

    from rnnstudy.study.search.tune import tune

    tune(Tuning(name=name, search=search, overrides=overrides), console)
    return 0
