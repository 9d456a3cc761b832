"""Batches in a row: lengths that vary, and texts that are read on."""

import itertools

import torch
from tools.members import SAMPLE_TEXT

from rnnstudy.tasks.adding import Adding
from rnnstudy.tasks.text import Text
from rnnstudy.training.data import TrainingData

CPU = torch.device("cpu")


def adding_data(seed: int = 0, replicas: int = 2) -> TrainingData:
    return TrainingData(Adding(seq_len=20), (5, 20), batch_size=3, seed=seed, replicas=replicas, device=CPU)


def text_data(seed: int = 0, replicas: int = 2, **arguments) -> TrainingData:
    task = Text(path=str(SAMPLE_TEXT), seq_len=20, **arguments)
    return TrainingData(task, (20, 20), batch_size=3, seed=seed, replicas=replicas, device=CPU)


def test_every_batch_draws_its_length_in_the_range():
    data = adding_data()
    lengths = [len(data.next(step).inputs) for step in range(600)]
    assert set(lengths) == set(range(5, 21))
    # Uniform: six standard deviations of a share of 1/16 in 600 draws.
    for length in range(5, 21):
        assert abs(lengths.count(length) / 600 - 1 / 16) < 6 * (1 / 16 * 15 / 16 / 600) ** 0.5


def test_lengths_depend_on_the_step_alone_and_replicas_on_their_seed():
    stacked, alone = adding_data(seed=4, replicas=3), adding_data(seed=6, replicas=1)
    for step in range(20):
        one, other = stacked.next(step), alone.next(step)
        assert torch.equal(one.inputs[:, 2:], other.inputs)
        assert torch.equal(one.targets[:, 2:], other.targets)


def test_one_length_needs_no_draw():
    task = Adding(seq_len=20)
    data = TrainingData(task, (20, 20), batch_size=3, seed=0, replicas=1, device=CPU)
    assert {len(data.next(step).inputs) for step in range(10)} == {20}


def test_a_text_is_read_on_in_every_replica():
    data = text_data()
    batches = [data.next(step) for step in range(5)]
    for before, after in itertools.pairwise(batches):
        # The last target of one window is the first input of the next.
        assert torch.equal(before.targets[-1], after.inputs[0])
    alone = text_data(seed=1, replicas=1)
    for batch in batches:
        assert torch.equal(batch.inputs[:, 1:], alone.next(0).inputs)


def test_a_text_in_varying_lengths_is_read_on_too():
    task = Text(path=str(SAMPLE_TEXT), seq_len=20)
    data = TrainingData(task, (5, 20), batch_size=3, seed=0, replicas=2, device=CPU)
    batches = [data.next(step) for step in range(8)]
    assert len({len(batch.inputs) for batch in batches}) > 1
    for before, after in itertools.pairwise(batches):
        assert torch.equal(before.targets[-1], after.inputs[0])


def test_independent_windows_carry_nothing_on():
    data = text_data(windows="independent")
    assert data.next(0).ends is None
    data.keep([])
    assert data.initial is None


def test_a_stored_state_goes_on_as_if_nothing_had_happened():
    for make in (adding_data, text_data):
        data, later = make(), make()
        for step in range(4):
            data.next(step)
        data.keep([(torch.ones(2, 3, 5), torch.zeros(2, 3, 5))])
        later.load_state(data.state())
        assert data.initial is not None
        assert later.initial is not None
        assert all(torch.equal(one, other) for one, other in zip(data.initial[0], later.initial[0], strict=True))
        for step in range(4, 8):
            assert torch.equal(data.next(step).inputs, later.next(step).inputs)


def test_a_state_that_is_not_finite_begins_anew_in_its_own_sequence():
    data = text_data()
    state = torch.ones(2, 3, 5)
    state[1, 2, 4] = float("nan")
    data.keep([(state,)])
    assert data.initial is not None
    (kept,) = data.initial[0]
    assert kept[1, 2].eq(0).all()
    assert kept.sum() == 2 * 3 * 5 - 5
