"""What tasks share: batches, means, criteria, accuracy of values."""

import math

import pytest
import torch

from rnnstudy.tasks.adding import Adding
from rnnstudy.tasks.base import Criterion, ask_at_end, mean_where, stack
from rnnstudy.tasks.parity import Parity


@pytest.mark.parametrize(("direction", "met"), [("at_least", [False, True, True]), ("at_most", [True, True, False])])
def test_a_criterion_is_met_at_its_threshold_and_never_by_nan(direction, met):
    criterion = Criterion(metric="accuracy", threshold=0.5, direction=direction)
    values = torch.tensor([0.25, 0.5, 0.75, math.nan])
    assert criterion.is_met({"accuracy": values}).tolist() == [*met, False]


def test_a_mean_over_what_is_chosen():
    values = torch.tensor([[[1.0, 2.0], [3.0, math.nan]], [[5.0, 6.0], [7.0, 8.0]]])
    chosen = torch.tensor([[[True, False], [True, False]], [[True, False], [False, True]]])
    assert mean_where(values, chosen).tolist() == [3.0, 5.5]


def test_a_value_is_right_below_its_tolerance():
    task = Adding(seq_len=4)
    inputs = torch.tensor([[0.5, 1.0], [0.1, 0.0], [0.2, 0.0], [0.3, 1.0]])[:, None].expand(4, 5, 2)
    batch = stack([task.pose(inputs)])
    outputs = torch.tensor([0.8, 0.839, 0.841, 0.761, 0.759])[None, None, :, None]
    metrics = task.metrics(outputs, batch)
    assert float(metrics["accuracy"]) == pytest.approx(3 / 5)
    assert float(metrics["loss"]) == pytest.approx((2 * 0.039**2 + 2 * 0.041**2) / 5, rel=1e-3)
    assert torch.equal(metrics["loss"], task.loss(outputs, batch))


def test_one_question_at_the_end():
    inputs = torch.zeros(3, 2, 1)
    batch = ask_at_end(inputs, torch.tensor([4, 5]), torch.tensor([True, False, False]))
    assert batch.loss_steps.tolist() == [2]
    assert batch.targets.tolist() == [[4, 5]]
    assert batch.counted.tolist() == batch.answer.tolist() == [[True, True]]
    assert batch.informative.tolist() == [[True, True], [False, False], [False, False]]
    assert batch.ends is None


def test_sequences_of_a_stack():
    whole = stack([Parity(seq_len=3).sample(5, torch.Generator().manual_seed(seed)) for seed in range(2)])
    part = whole.sequences(1, 3)
    assert torch.equal(part.inputs, whole.inputs[:, :, 1:3])
    assert torch.equal(part.targets, whole.targets[:, :, 1:3])
    assert torch.equal(part.informative, whole.informative[:, :, 1:3])
    assert torch.equal(part.loss_steps, whole.loss_steps)
    assert whole.sequences(4, 9).inputs.shape == (3, 2, 1)
