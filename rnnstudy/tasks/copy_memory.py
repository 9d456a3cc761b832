"""The copy memory problem."""

from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

from rnnstudy.core.errors import require_size
from rnnstudy.tasks.recall import Layout, RecallTask


@dataclass(frozen=True, kw_only=True)
class CopyMemory(RecallTask):
    """Put out, after a long pause and a delimiter, the symbols that were shown at the start.

    Example (3 symbols of an alphabet of 8, delay 4): 5 2 7 . . . > . . . -> . . . . . . . 5 2 7
    >>> import torch
    >>> task = CopyMemory(delay=4, num_symbols=3)
    >>> batch = task.pose(torch.tensor([5, 2, 7, 8, 8, 8, 9, 8, 8, 8])[:, None])
    >>> " ".join(task.facts.output_names[target] for target in batch.targets[:, 0])
    '. . . . . . . 5 2 7'

    fixed: symbols, delay - 1 blanks, the delimiter, blanks for the answer: delay + 2 num_symbols time steps, 20 more
    than the delay as published.
    variable: the same length, but the delimiter comes after 0 to delay - 1 blanks, equally likely, and blanks follow
    the answer, so counting time steps does not help. The delimiter counts as informative.

    The loss is the cross entropy over *all* time steps, as published; "answer_loss" and "accuracy" are those of the
    recall alone, without the blanks that hide the truth. The best loss without memory (fixed) is 10 ln 8 /
    (delay + 20). Solved: 99 % of the recalled symbols right; the papers name no criterion. Batches are drawn fresh.

    References:
        Hochreiter & Schmidhuber, Long short-term memory, 1997, section 5: its ancestors.
        Arjovsky, Shah & Bengio, 2016 (arXiv:1511.06464), section 5: `fixed` with 10 symbols of 8, "T" the delay.
        Henaff, Szlam & LeCun, 2016 (arXiv:1602.06662): `variable`, here with the sequence kept at one length.

    Args:
        delay: Time steps between the last symbol shown and the first put out (at most, if variable), at least 1; from a
            symbol to its copy it is delay + num_symbols.
        num_symbols: Symbols to copy, at least 1.
        alphabet_size: Different symbols, at least 2.
        variant: Whether the delimiter stands at a fixed place.
    """

    num_symbols: int = 10
    alphabet_size: int = 8
    variant: Literal["fixed", "variable"] = "fixed"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_size("num_symbols", self.num_symbols, 1)
        require_size("alphabet_size", self.alphabet_size, 2)

    @property
    @override
    def layout(self) -> Layout:
        shown, last = self.num_symbols, self.num_symbols + self.delay - 1
        places = range(shown if self.variant == "variable" else last, last + 1)
        return Layout(shown=shown, choices=self.alphabet_size, cue_places=places, cue_lead=1)
