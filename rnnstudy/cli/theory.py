"""The options of `rnnstudy theory`."""

import argparse
from pathlib import Path

from rich.console import Console

from rnnstudy.core.errors import ConfigError


def add_theory(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    theory = commands.add_parser(
        "theory",
        help="why gradients vanish and explode: bounds, spectra and Jacobian products of a network",
        description="Activation bounds, spectra, what is left of a state over time, the weight gradient as a sum over "
        "time, Lyapunov exponents: of random networks, or of the network of a run.",
    )
    of_run = theory.add_argument_group("the network of a run")
    of_run.add_argument("--run", type=Path, metavar="DIR", help="run folder")
    steps = "optimizer steps of the checkpoint (the last; see train.kept_checkpoints)"
    of_run.add_argument("--step", type=int, help=steps)
    of_run.add_argument("--replica", type=int, help="which of its replicas (0)")
    drive = "what drives it: its task's inputs, or nothing (task)"
    of_run.add_argument("--drive", choices=("task", "nothing"), help=drive)
    of_random = theory.add_argument_group("random networks")
    of_random.add_argument("--hidden-size", type=int, help="units (16)")
    radius = "spectral radius of recurrent matrices, or several to compare: 0.5,1,2.5 (as torch draws them)"
    of_random.add_argument("--radius", help=radius)
    of_random.add_argument("--matrix", type=Path, metavar="FILE", help="W_hh: text with a row a line, or .npy")
    of_random.add_argument("--seed", type=int, help="of weights and inputs (0)")
    theory.add_argument("--seq-len", type=int, help="time steps (20, or the run's own)")
    theory.add_argument("--point", type=float, default=1.0, help="where the tangent touches the activations (1.0)")
    theory.add_argument("--out", type=Path, metavar="DIR", help="folder of the page (below outputs/theory)")
    theory.set_defaults(function=_theory)


def _theory(options: argparse.Namespace, console: Console) -> int:
    from rnnstudy.theory.explain import Question, explain

    given = {name: value for name, value in vars(options).items() if name in Question.__dataclass_fields__}
    if given["radius"] is not None:
        given["radius"] = _radii(given["radius"])
    explain(Question(**given), console)
    return 0


def _radii(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"radius must be a number, or several with commas between them, got '{text}'.") from None
