"""The noiseless memorization problem."""

from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

from rnnstudy.tasks.recall import Layout, RecallTask

SIZES = {"5_bit": (5, 2), "20_bit": (10, 5)}
"""Number of symbols shown, and of different symbols."""


@dataclass(frozen=True, kw_only=True)
class Memorization(RecallTask):
    """Put out, from a cue on, the few symbols that were shown at the start.

    Example (5_bit, delay 3): 0 1 1 0 1 . . . > . . . . -> . . . . . . . . 0 1 1 0 1
    >>> import torch
    >>> task = Memorization(delay=3)
    >>> batch = task.pose(torch.tensor([0, 1, 1, 0, 1, 2, 2, 2, 3, 2, 2, 2, 2])[:, None])
    >>> " ".join(task.facts.output_names[target] for target in batch.targets[:, 0])
    '. . . . . . . . 0 1 1 0 1'

    Like `copy_memory`, with the published sizes and with the cue *at* the first time step of the answer, not before it.
    5_bit: 5 positions of 2 values; 20_bit: 10 positions of 5 values. The loss is the cross entropy over all time steps;
    "answer_loss" and "accuracy" are those of the recall alone. Solved: 99 % of the recalled symbols right; Pascanu et
    al. ask for less than 1 % of sequences wrong, over all time steps. Batches are drawn fresh.

    References:
        Martens & Sutskever, Learning recurrent neural networks with Hessian-free optimization, 2011, section 4.1.
        Pascanu, Mikolov & Bengio, 2013 (arXiv:1211.5063), authors' code: where the cue stands.

    Args:
        delay: Time steps between the last symbol shown and the cue, at least 1.
        variant: Published size to build.
    """

    variant: Literal["5_bit", "20_bit"] = "5_bit"

    @property
    @override
    def layout(self) -> Layout:
        shown, choices = SIZES[self.variant]
        cue = shown + self.delay
        return Layout(shown=shown, choices=choices, cue_places=range(cue, cue + 1), cue_lead=0)
