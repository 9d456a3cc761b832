"""Sweeps that were never trained: their figures are drawn at random, from distributions that are known."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from rnnstudy.core.criterion import Criterion
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.runs.run import TaskFacts

BUDGET = 10_000
"""Optimizer steps of every run."""

Figure = Callable[[np.ndarray], np.ndarray]
"""From standard normal numbers to figures of networks, increasing."""

_CRITERION = Criterion(metric="accuracy", threshold=0.99, direction="at_least")
_GRID = ndtri((np.arange(1_000_000) + 0.5) / 1_000_000)


class Kind(NamedTuple):
    """Distribution of the figures of networks.

    Args:
        figure: Figures before they are scaled to mean 0 and standard deviation 1.
        is_judged: Whether the task has a criterion. Half of the networks solve it, and times to solve are lognormal.
        diverging: Fraction of the networks that diverge.
    """

    figure: Figure
    is_judged: bool = False
    diverging: float = 0.0

    def scaled(self, latent: np.ndarray) -> np.ndarray:
        """Return figures with mean 0 and standard deviation 1."""
        mean, deviation = _moments(self.figure)
        return (self.figure(latent) - mean) / deviation


KINDS = {
    "normal": Kind(np.positive),
    "exponential": Kind(lambda z: -np.log(ndtr(-z))),
    "lognormal": Kind(np.exp),
    "tied": Kind(np.round),
    "bimodal": Kind(lambda z: z + 10 * (z > ndtri(0.9))),
    "censored": Kind(np.positive, is_judged=True),
    "diverging": Kind(np.positive, is_judged=True, diverging=0.1),
}
"""Tied figures are whole standard deviations; one in ten bimodal figures is ten of them away."""


@cache
def _moments(figure: Figure) -> tuple[float, float]:
    values = figure(_GRID)
    return float(values.mean()), float(values.std())


def lognormal_times(latent: np.ndarray, solved: float) -> np.ndarray:
    """Return times to solve, of which this fraction is within the budget."""
    return BUDGET * np.exp(latent - ndtri(solved))


@cache
def mean_time(solved: float) -> float:
    """Return the mean of lognormal times restricted to the budget."""
    return float(np.minimum(lognormal_times(_GRID, solved), BUDGET).mean())


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A sweep to draw: runs that are all compared with the first.

    Args:
        kind: One of `KINDS`.
        configurations: Number of runs.
        replicas: Networks of a run.
        paired: Whether all runs have the same seeds.
        correlation: Correlation of the figures of two networks with one seed.
        shift: Standard deviations by which loss and log time to solve of the last run are lower than those of others.
    """

    kind: str = "normal"
    configurations: int = 10
    replicas: int = 8
    paired: bool = True
    correlation: float = 0.5
    shift: float = 0.0

    def draw(self, random: np.random.Generator) -> list[Summary]:
        """Return the runs, the baseline first.

        Each has a loss, largest norm, horizon and decay, and times to solve if the task has a criterion. Of the part
        that is not common to the networks with one seed, half is common to all figures of a network.
        """
        kind, shape = KINDS[self.kind], (self.configurations, 5, self.replicas)
        common, network, own = (random.standard_normal(size) for size in (shape[1:], (shape[0], 1, shape[2]), shape))
        share = self.correlation if self.paired else 0.0
        latent = math.sqrt(share) * common + math.sqrt((1 - share) / 2) * (network + own)
        figures = kind.scaled(latent[:, :4])
        figures[-1, 0] -= self.shift
        latent[-1, 4] -= self.shift
        lost = random.random((shape[0], shape[2])) < kind.diverging
        figures[:, [0, 2, 3]] = np.where(lost[:, None], np.nan, figures[:, [0, 2, 3]])
        runs: list[Summary] = []
        for number, gone in enumerate(lost):
            loss, norm, horizon, decay = figures[number]
            found: dict[str, np.ndarray] = {
                "loss": loss,
                "largest_norm": 10.0**norm,
                "horizon": horizon,
                "decay": decay,
            }
            if kind.is_judged:
                found["times"] = lognormal_times(latent[number, 4], 0.5)
            first_seed = 0 if self.paired else number * self.replicas
            runs.append(made_up(f"run{number}", found, first_seed=first_seed, lost=gone))
        return runs


def made_up(
    label: str, figures: dict[str, np.ndarray], *, first_seed: int = 0, lost: np.ndarray | None = None
) -> Summary:
    """Return a run that was not trained, with a figure per replica for some fields of `Summary`.

    `figures` may have "times" to solve, which are cut off at `BUDGET`; without them the task has no criterion. Replicas
    that are `lost` diverged.
    """
    count = len(next(iter(figures.values())))
    none = (None,) * count
    unlogged = ("loss", "answer_loss", "accuracy", "skipped", "largest_norm", "largest_loss", "spikes", "clipped")
    logged: dict[str, Any] = dict.fromkeys((*unlogged, "growth", "ratio_first", "ratio_last", "horizon", "decay"), none)
    logged |= {name: tuple(values.tolist()) for name, values in figures.items() if name != "times"}
    times = figures.get("times")
    steps = none if times is None else tuple(math.ceil(time) if time <= BUDGET else None for time in times)
    status = np.where([taken is None for taken in steps], "finished", "solved")
    if lost is not None:
        status = np.where(lost, "diverged", status)
    return Summary(
        name=label,
        short=label,
        model="rnn",
        mitigation=label,
        differing={"mitigation": label},
        is_edited=False,
        labels=(label,),
        paths=(Path(label),),
        seeds=tuple(range(first_seed, first_seed + count)),
        repeated=0,
        device="cpu",
        fingerprint=None,
        choices={},
        settings={},
        facts=TaskFacts(
            chance_loss=None,
            chance_accuracy=None,
            memoryless_loss=None,
            criterion=None if times is None else _CRITERION,
            seq_len=100,
            informative_steps=(),
            loss_at_end=True,
        ),
        state="",
        wall_seconds=None,
        without_metrics=(),
        without_curves=(),
        status=tuple(status.tolist()),
        steps_to_solve=steps,
        diverged_at=none,
        steps_run=BUDGET,
        elsewhere={},
        active={},
        gain=(),
        last_step=BUDGET,
        **logged,
    )
