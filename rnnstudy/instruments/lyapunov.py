"""Lyapunov exponents of the network while it learns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from rnnstudy.core.errors import require_at_least
from rnnstudy.gradients.lyapunov import lyapunov
from rnnstudy.gradients.trajectories import Drive, network_trajectories
from rnnstudy.instruments.base import ProbeInstrument, Record, Tier
from rnnstudy.runs.tags import Meaning
from rnnstudy.writers.base import Curve, Measurement, Measurements, Scalar


@dataclass(frozen=True, kw_only=True)
class Lyapunov(ProbeInstrument):
    """Finite-time Lyapunov exponents along the task's sequences, forward and backward.

    Along the first sequences of the probe, in natural logarithms per time step, in float64:

        lyapunov/layer_{index}/largest            of growing changes; below 0 they die out, above 0 they grow
        lyapunov/layer_{index}/mean               average over all: how fast volumes of states shrink, per dimension
        lyapunov/layer_{index}/backward_largest   of adjoints, as gradients go; the same as `largest` in the long run
        lyapunov/layer_{index}/spectrum           all exponents, the largest first (a curve over their rank)

    Sorted per sequence, then averaged; -inf where a direction is lost altogether, and so is the mean. The frame starts
    at the units in their order: over a task's few steps, `largest` and `backward_largest` depend on it and may lie well
    below the largest gain of the Jacobians' product (`jacobian_norms`). Long sequences or `burn_in` make them meet.

    References:
        Vogt, Puelma Touzel, Shlizerman & Lajoie, On Lyapunov exponents for RNNs, 2022 (arXiv:2006.14123).

    Args:
        sequences: Sequences of the probe to use, at least 1.
        burn_in: Time steps at the start of each way that do not count; at most all but one.
        drive: The task's inputs, or none: then every layer runs by itself from a random state.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "lyapunov/layer_{layer}/largest": Meaning(
            "Largest Lyapunov exponent: changes of the state die out below 0 and grow above.", "nats per time step"
        ),
        "lyapunov/layer_{layer}/mean": Meaning(
            "Mean of the Lyapunov exponents: how fast volumes of states shrink, per dimension.", "nats per time step"
        ),
        "lyapunov/layer_{layer}/backward_largest": Meaning(
            "Largest Lyapunov exponent of adjoints, on their way back in time.", "nats per time step"
        ),
        "lyapunov/layer_{layer}/spectrum": Meaning("All Lyapunov exponents, the largest first.", "nats per time step"),
    }

    tier: ClassVar[Tier] = "expensive"

    sequences: int = 2
    burn_in: int = 0
    drive: Drive = "task"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least("burn_in", self.burn_in, 0)

    @override
    def measure(self, record: Record) -> Measurements:
        inputs = self.probed(record).inputs
        measured: dict[str, Measurement] = {}
        for index, trajectory in enumerate(network_trajectories(record.network, inputs, drive=self.drive)):
            name = f"lyapunov/layer_{index}"
            found = lyapunov(trajectory, burn_in=min(self.burn_in, trajectory.num_steps - 1))
            spectrum = found.forward.sort(-1, descending=True).values.mean(1)
            measured[f"{name}/largest"] = Scalar(values=spectrum[:, 0])
            measured[f"{name}/mean"] = Scalar(values=spectrum.mean(-1))
            measured[f"{name}/backward_largest"] = Scalar(values=found.backward.amax(-1).mean(1))
            measured[f"{name}/spectrum"] = Curve(values=spectrum)
        return measured
