"""Saturation and steepness of gates and activations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import ConfigError, require_above
from rnnstudy.gradients.trajectories import network_trajectories
from rnnstudy.instruments.base import ProbeInstrument, Record
from rnnstudy.recurrence.activations import ACTIVATIONS
from rnnstudy.recurrence.base import Activated
from rnnstudy.runs.tags import Meaning
from rnnstudy.writers.base import Measurements, Scalar


@dataclass(frozen=True, kw_only=True)
class Saturation(ProbeInstrument):
    """Share of the values of each gate and activation that are saturated, and their mean slope, per replica.

    With v an output of an activation f, and f' its derivative there:

        sigmoid        low: share of v < margin; high: share of v > 1 - margin
        tanh           saturated: share of |v| > 1 - margin
        relu, modrelu  off: share of v = 0
        all of them    mean_slope: mean of f', that is v(1-v), 1-v^2, 0 or 1; of identity 1

    Shares (0 to 1) and means are over all time steps, first sequences of the probe, and units, in float64: a slope that
    float32 rounds to 0 keeps its value. A figure is NaN where a value is. Tags:
    `saturation/layer_{index}/{gate}/{figure}`, the lowest layer 0. The gates are i, f, g, o and tanh_c (tanh of the
    cell state) of an LSTM, r, z, n of a GRU, new of a residual cell, h of others; linear cells (LRU) have none.

    Easily misread:
        The slope of a sigmoid is at most 1/4, of a tanh at most 1: mean_slope .2 is steep for a gate, flat for a tanh.
        A slope is one factor of what goes back in time; the weights, or the gates that multiply, are others.
        Saturated is not broken: an LSTM whose f, or a GRU whose z, is high keeps its state, and its gradient.
        Off is counted per value: 0.5 can be half of the units always, or every unit half of the time.

    References:
        Karpathy, Johnson & Fei-Fei, 2015 (arXiv:1506.02078): left- and right-saturated gates, there per unit.

    Args:
        margin: Distance from its bounds at which a value counts as saturated, above 0 and below 0.5.
        sequences: Sequences of the probe to use, at least 1; all if it has fewer.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "saturation/layer_{layer}/{gate}/low": Meaning(
            "Share of the values of a sigmoid gate that are close to 0.", "1"
        ),
        "saturation/layer_{layer}/{gate}/high": Meaning(
            "Share of the values of a sigmoid gate that are close to 1.", "1"
        ),
        "saturation/layer_{layer}/{gate}/saturated": Meaning(
            "Share of the values of a tanh that are close to -1 or 1.", "1"
        ),
        "saturation/layer_{layer}/{gate}/off": Meaning("Share of the values of a ReLU that are 0.", "1"),
        "saturation/layer_{layer}/{gate}/mean_slope": Meaning(
            "Mean derivative of the activation, at most 1/4 of a sigmoid and 1 of a tanh.", "1"
        ),
    }

    margin: float = 0.05
    sequences: int = 8

    def __post_init__(self) -> None:
        require_above("margin", self.margin, 0)
        if not self.margin < 0.5:
            raise ConfigError(f"margin must be below 0.5, where low and high meet, got {self.margin}.")
        super().__post_init__()

    @override
    def measure(self, record: Record) -> Measurements:
        trajectories = network_trajectories(record.network, self.probed(record).inputs)
        return {
            f"saturation/layer_{index}/{gate}/{figure}": Scalar(values=values)
            for index, path in enumerate(trajectories)
            for gate, activated in path.cell.activated(path.inputs, path.before, path.weights).items()
            for figure, values in self._figures(activated).items()
        }

    def _figures(self, activated: Activated) -> dict[str, Float[Tensor, " replica"]]:
        v = activated.values
        match activated.nonlinearity:
            case "sigmoid":
                chosen = {"low": v < self.margin, "high": v > 1 - self.margin}
            case "tanh":
                chosen = {"saturated": v.abs() > 1 - self.margin}
            case "relu" | "modrelu":
                chosen = {"off": v == 0}
            case "identity":
                chosen = {}
        figures = {name: _mean(which.to(v.dtype), v) for name, which in chosen.items()}
        return figures | {"mean_slope": _mean(ACTIVATIONS[activated.nonlinearity].derivative(v), v)}


def _mean(
    figures: Float[Tensor, "time replica batch hidden"], values: Float[Tensor, "time replica batch hidden"]
) -> Float[Tensor, " replica"]:
    """Compute the mean over all but the replicas; NaN where a value is."""
    return torch.where(values.isnan(), torch.nan, figures).mean((0, 2, 3), dtype=torch.float64)
