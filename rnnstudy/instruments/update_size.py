"""Size of one optimizer step relative to the weights."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from rnnstudy.gradients.norms import replica_norms
from rnnstudy.instruments.base import Instrument, LooksAt, Record, Update
from rnnstudy.runs.tags import Meaning
from rnnstudy.writers.base import Measurements, Scalar


@dataclass(frozen=True, kw_only=True)
class UpdateSize(Instrument):
    """||change of the weights|| / ||weights before||, of one optimizer step, per replica, in float64.

    Tags: `update_size/all` over all parameters, `update_size/{part}` over those of `embedding`, `layer_{index}` and
    `readout`. Every change counts: learning rate, optimizer state, weight decay, limits on weights. 0 if a replica
    skips it; around 1e-3 is usual with Adam. Parameters are as the optimizer sees them, before any parametrisation.
    """

    meanings: ClassVar[Mapping[str, Meaning]] = {
        "update_size/{part}": Meaning(
            "||change of the weights|| / ||weights before|| of one optimizer step, over the parameters of a part.", "1"
        ),
    }

    looks_at: ClassVar[LooksAt] = "the weights"
    sees_updates: ClassVar[bool] = True

    @override
    def measure(self, record: Record) -> Measurements:
        return {}

    @override
    def measure_update(self, update: Update) -> Measurements:
        changes: dict[str, list[Tensor]] = defaultdict(list)
        sizes: dict[str, list[Tensor]] = defaultdict(list)
        for name, weight in update.network.named_parameters():
            before = update.before[name]
            for part in ("all", part_of(name)):
                changes[part].append(weight.detach().double() - before.double())
                sizes[part].append(before)
        norms = {part: replica_norms(changes[part]) / replica_norms(sizes[part]) for part in changes}
        return {f"update_size/{part}": Scalar(values=values) for part, values in norms.items()}


def part_of(parameter: str) -> str:
    """Return the name of the part of the network that a parameter belongs to.

    >>> part_of("layers.1.weight_hh"), part_of("readout_bias"), part_of("embedding")
    ('layer_1', 'readout', 'embedding')
    """
    first, _, rest = parameter.partition(".")
    return f"layer_{rest.partition('.')[0]}" if first == "layers" else first.partition("_")[0]
