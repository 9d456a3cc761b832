"""Sequential digits: real images, read pixel by pixel."""

import importlib.util
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.core.seeding import make_generator
from rnnstudy.tasks.base import Batch, ClassificationTask, Criterion, Facts, ask_at_end

TEST_IMAGES = 360
"""Images of the test part, of 1 797 in all."""

PIXELS = 64


@dataclass(frozen=True, kw_only=True)
class SequentialDigits(ClassificationTask):
    """Read the 64 pixels of a handwritten digit one after the other; tell at the end which digit it was.

    Example: 0 0 5/16 13/16 9/16 1/16 0 0 (the first row of an image) ... -> 0
    >>> everything = SequentialDigits().sample(1437, torch.Generator())
    >>> rows = everything.inputs[:8, :, 0].T * 16
    >>> place = int((rows == torch.tensor([0, 0, 5, 13, 9, 1, 0, 0])).all(1).nonzero()[0])
    >>> int(everything.targets[0, place])
    0

    The 1 797 images of 8 x 8 pixels that scikit-learn ships, grey values from 0 to 1: a fixed set. The same 1 437 are
    always for training; every replica is evaluated on train.eval_batch_size of the 360 others, drawn once. A batch
    repeats an image only if it is larger than its part. The pixels that matter are not marked, so all time steps count
    as informative, though corners say little. Solved: 95 % of the evaluation images right; no paper names a criterion.

    References:
        Le, Jaitly & Hinton, 2015 (arXiv:1504.00941), section 4.2: pixel by pixel, in row order or permuted (MNIST).
        Alpaydin & Kaynak, Optical recognition of handwritten digits, 1998, UCI repository: the images.

    Args:
        variant: Pixels in row order, or in one random order that is the same for all images, runs and seeds.
    """

    length_field = None

    variant: Literal["row", "permuted"] = "row"
    part: Literal["train", "test"] = field(init=False, default="train")

    def __post_init__(self) -> None:
        if importlib.util.find_spec("sklearn") is None:
            raise RnnstudyError(
                "sequential_digits needs the images that come with scikit-learn, which is not installed: "
                "pip install scikit-learn, or install rnnstudy with its extra 'digits'."
            )

    @property
    @override
    def facts(self) -> Facts:
        pixels, digits = _images(self.variant, self.part)
        shares = digits.bincount(minlength=10).double() / len(digits)
        counts = torch.zeros(17, 10, dtype=torch.float64)
        last = (pixels[:, -1] * 16).long()
        counts.index_put_((last, digits), torch.ones(len(digits), dtype=torch.float64), accumulate=True)
        return Facts(
            seq_len=PIXELS,
            encoding="features",
            input_names=("pixel",),
            output_names=tuple("0123456789"),
            chance_loss=float(torch.special.entr(shares).sum()),
            chance_accuracy=float(shares.max()),
            memoryless_loss=float(_entropy_of(counts) - _entropy_of(counts.sum(1))),
            solved=Criterion(metric="accuracy", threshold=0.95, direction="at_least"),
            informative_steps=tuple(range(PIXELS)),
        )

    @override
    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        pixels, digits = _images(self.variant, self.part)
        rounds = -(-batch_size // len(digits))
        chosen = torch.cat([torch.randperm(len(digits), generator=generator) for _ in range(rounds)])[:batch_size]
        inputs = pixels[chosen].T.contiguous().unsqueeze(-1)
        return ask_at_end(inputs, digits[chosen], torch.ones(PIXELS, dtype=torch.bool))

    @override
    def held_out(self) -> "SequentialDigits":
        other = replace(self)
        object.__setattr__(other, "part", "test")
        return other


@cache
def _all_images() -> tuple[Tensor, Tensor]:
    """Return all images in an order that is the same everywhere; the first ones are the test part."""
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    order = torch.randperm(len(digits), generator=make_generator(0, "digits/split"))
    return (torch.tensor(pixels, dtype=torch.float32) / 16)[order], torch.tensor(digits)[order]


@cache
def _images(variant: str, part: str) -> tuple[Tensor, Tensor]:
    """Return the pixels (image, time) and digits (image) of a part."""
    pixels, digits = _all_images()
    if variant == "permuted":
        pixels = pixels[:, torch.randperm(PIXELS, generator=make_generator(0, "digits/pixels"))]
    chosen = slice(0, TEST_IMAGES) if part == "test" else slice(TEST_IMAGES, None)
    return pixels[chosen], digits[chosen]


def _entropy_of(counts: Tensor) -> Tensor:
    """Compute the entropy of the shares of counts, in nats."""
    return torch.special.entr(counts / counts.sum()).sum()
