"""Norms of the recurrent Jacobian, of every step and of their products."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from rnnstudy.gradients.jacobians import contributions
from rnnstudy.gradients.trajectories import network_trajectories
from rnnstudy.instruments.base import ProbeInstrument, Record, Tier
from rnnstudy.runs.tags import Meaning
from rnnstudy.writers.base import Curve, Measurement, Measurements, Scalar


@dataclass(frozen=True, kw_only=True)
class JacobianNorms(ProbeInstrument):
    """Spectral norms of J_t = ds_t/ds_{t-1} and of their products, on the first sequences of the probe, in float64.

        jacobian_norms/layer_{index}/log10_step              curve over t: ||J_t||, all states of the cell together
        jacobian_norms/layer_{index}/{state}/log10_product   curve over t: ||ds_T/ds_t||, of one state, T the last step
        jacobian_norms/layer_{index}/{state}/decay           that of t = 0 over T: powers of ten per time step

    Each is a log10, averaged over the sequences; -inf for 0. A small change of h_t changes h_T by at most the norm of
    the product times its own length. Products keep their exponents apart, so they do not underflow. No loss enters: the
    gradient follows from these products and the direction in which the loss starts it. Inputs are held fixed: with
    several layers these are the Jacobians within a layer. A single time step has no decay: NaN.

    Args:
        sequences: Sequences of the probe to use, at least 1.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "jacobian_norms/layer_{layer}/log10_step": Meaning(
            "log10 ||J_t|| of each time step, all states of the cell together.", "powers of ten"
        ),
        "jacobian_norms/layer_{layer}/{state}/log10_product": Meaning(
            "log10 ||ds_T/ds_t|| of one state, T the last time step.", "powers of ten"
        ),
        "jacobian_norms/layer_{layer}/{state}/decay": Meaning(
            "log10 ||ds_T/ds_0|| over T, T the last time step.", "powers of ten per time step"
        ),
    }

    tier: ClassVar[Tier] = "expensive"

    sequences: int = 2

    @override
    def measure(self, record: Record) -> Measurements:
        inputs = self.probed(record).inputs
        measured: dict[str, Measurement] = {}
        for index, trajectory in enumerate(network_trajectories(record.network, inputs)):
            name = f"jacobian_norms/layer_{index}"
            for state in trajectory.cell.recorded:
                found = contributions(trajectory, state)
                product = found.log10_norm.mean(-1)
                measured[f"{name}/log10_step"] = Curve(values=found.log10_step.mean(-1).T)
                measured[f"{name}/{state}/log10_product"] = Curve(values=product.T)
                measured[f"{name}/{state}/decay"] = Scalar(values=product[0] / (len(product) - 1))
        return measured
