"""Whether the gradient arrives where the information is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from typing_extensions import override

from rnnstudy.instruments.base import Instrument, Record
from rnnstudy.runs.tags import Meaning
from rnnstudy.writers.base import Measurement, Measurements, Scalar


@dataclass(frozen=True, kw_only=True)
class Credit(Instrument):
    """The gradient at the time steps that carry the information, against all others.

    With ||dL/dh_t|| per sequence (total), L the answer's loss alone, and "there" the time steps whose inputs the task
    marks as decisive:

        credit/{state}/layer_{index}/log10_ratio   log10 of its mean there over its mean elsewhere
        credit/{state}/layer_{index}/share         its sum there over its sum everywhere, 0 to 1

    Means and sums are over the sequences and time steps of the batch. A network that uses its cue has a higher ratio
    than the untrained one, whose ratio reflects the distance from the loss rather than the information. NaN where the
    gradient is not finite or zero throughout. The ratio is -inf where the gradient is zero there alone, inf where it is
    zero elsewhere alone. No figures where all time steps carry the information, or none does.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "credit/{state}/layer_{layer}/log10_ratio": Meaning(
            "log10 of the mean ||dL/ds_t|| where the information is over its mean elsewhere.", "powers of ten"
        ),
        "credit/{state}/layer_{layer}/share": Meaning(
            "Sum of ||dL/ds_t|| where the information is over its sum everywhere, 0 to 1.", "1"
        ),
    }

    @override
    def measure(self, record: Record) -> Measurements:
        there = record.batch.informative
        measured: dict[str, Measurement] = {}
        if there.all() or not there.any():
            return measured
        for index, states in enumerate(record.answer_norms):
            for state, norms in states.items():
                inside = torch.where(there, norms, 0).sum((0, 2))
                outside = torch.where(there, 0, norms).sum((0, 2))
                count = there.sum((0, 2))
                others = there.shape[0] * there.shape[2] - count
                told = (count > 0) & (others > 0) & (inside + outside).isfinite()
                ratio = torch.where(told, inside / count / (outside / others), torch.nan)
                share = torch.where(told, inside / (inside + outside), torch.nan)
                name = f"credit/{state}/layer_{index}"
                measured[f"{name}/log10_ratio"] = Scalar(values=ratio.log10())
                measured[f"{name}/share"] = Scalar(values=share)
        return measured
