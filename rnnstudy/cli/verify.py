"""`rnnstudy verify`: the options of the checks, validated before anything is computed."""

import argparse
from pathlib import Path

from rich.console import Console

from rnnstudy.cli.bench import require_place


def add_verify(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    verify = commands.add_parser(
        "verify",
        help="check on this machine that every gradient is what it is said to be",
        description="Check every gradient on this machine, against nudged states, finite differences, torch.nn's "
        "cells, closed forms and worked examples. Exit code 1 if one is not what it is said to be.",
    )
    devices = "cpu, cuda, cuda:N or auto (default: the CPU, and CUDA too where there is one)"
    verify.add_argument("--device", help=devices)
    verify.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file, too")
    verify.set_defaults(function=_verify)


def _verify(options: argparse.Namespace, console: Console) -> int:
    require_place(options.json)

    import torch

    from rnnstudy.core.numerics import select_device
    from rnnstudy.verify.all_checks import verify_gradients

    if options.device is None:
        devices = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    else:
        devices = [select_device(options.device)]
    return 0 if verify_gradients(console, devices, options.json) else 1
