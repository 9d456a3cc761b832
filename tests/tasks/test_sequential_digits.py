"""Sequential digits against the images as scikit-learn ships them."""

import importlib.util
import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.tasks.base import Criterion
from rnnstudy.tasks.sequential_digits import SequentialDigits

datasets = pytest.importorskip("sklearn.datasets")

SIZES = {"train": 1437, "test": 360}
PARTS = list(SIZES)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    return datasets.load_digits()


@pytest.fixture(scope="module")
def label_of(digits):
    """The label of every image, by its pixels in row order (no two images are the same)."""
    labels = {}
    for image, label in zip(digits.images, digits.target, strict=True):
        pixels = tuple(float(grey) / 16 for row in image for grey in row)
        assert pixels not in labels
        labels[pixels] = int(label)
    return labels


def images_of(batch):
    return [tuple(pixels) for pixels in batch.inputs[:, :, 0].T.tolist()]


def of_part(part, **arguments):
    task = SequentialDigits(**arguments)
    return task if part == "train" else task.held_out()


def whole_part(part, seed=0, **arguments):
    return of_part(part, **arguments).sample(SIZES[part], generator(seed))


@pytest.mark.parametrize("part", PARTS)
def test_every_image_is_one_of_the_data_set_with_its_label(label_of, part):
    batch = whole_part(part)
    assert batch.inputs.shape == (64, SIZES[part], 1)
    images = images_of(batch)
    assert [label_of[image] for image in images] == batch.targets[0].tolist()
    assert batch.loss_steps.tolist() == [63]
    assert batch.counted.all()
    assert batch.answer.all()
    assert batch.informative.all()
    assert batch.ends is None


def test_the_parts_are_disjoint_and_make_up_all_images(label_of):
    train, test = (set(images_of(whole_part(part))) for part in PARTS)
    assert (len(train), len(test)) == (1437, 360)
    assert not train & test
    assert train | test == set(label_of)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("seed", range(5))
def test_no_image_is_twice_in_a_batch_and_the_parts_are_the_same_for_all_seeds(part, seed):
    assert set(images_of(whole_part(part, seed=seed))) == set(images_of(whole_part(part)))
    half = images_of(of_part(part).sample(SIZES[part] // 2, generator(seed)))
    assert len(set(half)) == len(half)


@pytest.mark.parametrize("part", PARTS)
def test_a_batch_may_be_larger_than_the_part(label_of, part):
    size = SIZES[part]
    for count in (size + 1, 2 * size + 3):
        batch = of_part(part).sample(count, generator())
        images = images_of(batch)
        assert len(images) == count
        assert set(images) <= set(images_of(whole_part(part)))
        assert [label_of[image] for image in images] == batch.targets[0].tolist()


def test_all_images_are_drawn_equally_often():
    drawn = Counter()
    for seed in range(600):
        drawn.update(images_of(of_part("test").sample(30, generator(seed))))
    assert len(drawn) == 360
    # Without replacement the counts vary less than the test allows for, never more.
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-7


def test_every_place_of_a_batch_may_hold_any_image():
    first = Counter(images_of(of_part("test").sample(2, generator(seed)))[0] for seed in range(8000))
    assert len(first) == 360
    assert stats.chisquare(list(first.values())).pvalue > 1e-7


def test_row_order_is_the_flattened_rows(digits):
    train = {image: place for place, image in enumerate(images_of(whole_part("train")))}
    rows = np.concatenate(list(digits.images[0]))
    assert tuple((rows / 16).tolist()) in {**train, **dict.fromkeys(images_of(whole_part("test")))}
    # Columns first would be another image.
    assert tuple((digits.images[0].T.ravel() / 16).tolist()) not in train


def test_grey_values_are_from_0_to_1():
    inputs = whole_part("train").inputs
    assert inputs.dtype == torch.float32
    assert (float(inputs.min()), float(inputs.max())) == (0, 1)
    assert set((inputs * 16).unique().tolist()) == set(range(17))


def test_permuted_is_one_order_for_all_images_and_both_parts(digits):
    """Images are recognised by their sorted grey values, which no two of them share."""
    by_greys = {tuple(sorted(pixels)): pixels for pixels in (digits.data / 16).tolist()}
    assert len(by_greys) == 1797
    candidates = {}
    for part in PARTS:
        for seed in (0, 1):
            batch = whole_part(part, variant="permuted", seed=seed)
            permuted = np.array(images_of(batch))
            plain = np.array([by_greys[tuple(sorted(pixels))] for pixels in permuted.tolist()])
            for step in range(64):
                same = {pixel for pixel in range(64) if np.array_equal(permuted[:, step], plain[:, pixel])}
                candidates[step] = candidates.get(step, same) & same
    # Three pixels are black in all images, so they cannot be told apart.
    black = {0, 32, 39}
    assert all(len(pixels) == 1 or pixels == black for pixels in candidates.values())
    assert sorted(min(pixels) for pixels in candidates.values() if pixels != black) == sorted(set(range(64)) - black)
    moved = sum(step not in pixels for step, pixels in candidates.items())
    assert moved > 50


@pytest.mark.parametrize("part", PARTS)
def test_labels_of_permuted_images_are_right(digits, part):
    label_by_greys = {
        tuple(sorted(pixels)): label
        for pixels, label in zip((digits.data / 16).tolist(), digits.target.tolist(), strict=True)
    }
    batch = whole_part(part, variant="permuted")
    assert [label_by_greys[tuple(sorted(image))] for image in images_of(batch)] == batch.targets[0].tolist()


def entropy(counts):
    total = sum(counts.values())
    return -sum(count / total * math.log(count / total) for count in counts.values())


@pytest.mark.parametrize("variant", ["row", "permuted"])
@pytest.mark.parametrize("part", PARTS)
def test_facts(part, variant):
    task = of_part(part, variant=variant)
    batch = whole_part(part, variant=variant)
    labels = batch.targets[0].tolist()
    last_pixels = [image[-1] for image in images_of(batch)]
    facts = task.facts
    assert facts.chance_loss == pytest.approx(entropy(Counter(labels)), abs=1e-6)
    assert facts.chance_accuracy == pytest.approx(max(Counter(labels).values()) / SIZES[part], abs=1e-6)
    both = entropy(Counter(zip(last_pixels, labels, strict=True)))
    assert facts.memoryless_loss == pytest.approx(both - entropy(Counter(last_pixels)), abs=1e-6)
    assert facts.seq_len == 64
    assert facts.input_size == 1
    assert list(facts.output_names) == list("0123456789")
    assert facts.informative_steps == tuple(range(64))
    assert facts.solved == Criterion(metric="accuracy", threshold=0.95, direction="at_least")


@pytest.mark.parametrize("variant", ["row", "permuted"])
@pytest.mark.parametrize("part", PARTS)
def test_evaluation_takes_the_test_part(part, variant):
    held_out = of_part(part, variant=variant).held_out()
    assert held_out == of_part("test", variant=variant)
    assert set(images_of(held_out.sample(360, generator()))) == set(images_of(whole_part("test", variant=variant)))


def test_there_are_no_other_lengths():
    task = SequentialDigits()
    assert task.with_seq_len(64) == task
    with pytest.raises(RnnstudyError, match="64"):
        task.with_seq_len(65)


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    find_spec = importlib.util.find_spec

    def find_other(name, *arguments):
        return None if name.split(".")[0] == "sklearn" else find_spec(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", find_other)
    with pytest.raises(RnnstudyError, match="scikit-learn") as caught:
        SequentialDigits()
    assert "\n" not in str(caught.value)
