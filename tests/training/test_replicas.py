import torch

from rnnstudy.training.averages import Averages
from rnnstudy.training.replicas import NEVER, ReplicaStates


def flags(*values: bool) -> torch.Tensor:
    return torch.tensor(values)


def test_solving_is_noted_once_and_stops_if_asked():
    states = ReplicaStates.fresh(3)
    assert states.mark_solved(flags(True, False, False), 100, stop=True).tolist() == [True, False, False]
    assert states.mark_solved(flags(True, True, False), 200, stop=True).tolist() == [False, True, False]
    assert states.steps_to_solve.tolist() == [100, 200, NEVER]
    assert states.training.tolist() == [False, False, True]
    assert states.names() == ["solved", "solved", "finished"]


def test_a_replica_can_go_on_after_solving():
    states = ReplicaStates.fresh(2)
    assert not states.mark_solved(flags(True, False), 100, stop=False).any()
    states.mark_solved(flags(False, False), 200, stop=False)
    assert states.training.all()
    assert states.steps_to_solve.tolist() == [100, NEVER]
    assert states.names() == ["solved", "finished"]


def test_skips_are_counted_and_only_a_row_of_them_means_divergence():
    states = ReplicaStates.fresh(2)
    for step, finite in enumerate((False, False, True, False, False)):
        assert not states.note_skips(flags(finite, True), step, 3).any()
    assert states.note_skips(flags(False, True), 5, 3).tolist() == [True, False]
    assert states.diverged_at.tolist() == [3, NEVER]
    assert states.skipped.tolist() == [5, 0]
    assert states.names() == ["diverged", "finished"]
    states.note_skips(flags(False, True), 6, 3)
    assert states.skipped.tolist() == [5, 0]


def test_a_solved_replica_that_diverges_later_counts_as_diverged():
    states = ReplicaStates.fresh(1)
    states.mark_solved(flags(True), 10, stop=False)
    states.note_skips(flags(False), 0, 1)
    assert states.names() == ["diverged"]
    assert states.steps_to_solve.tolist() == [10]


def test_states_survive_a_checkpoint():
    states = ReplicaStates.fresh(2)
    states.note_skips(flags(False, True), 0, 3)
    again = ReplicaStates.from_state(states.state())
    states.note_skips(flags(False, True), 1, 3)
    assert again.skipped.tolist() == [1, 0]


def test_averages_leave_out_who_does_not_count():
    averages = Averages(2)
    averages.add({"loss": torch.tensor([1.0, float("nan")])}, flags(True, False))
    averages.add({"loss": torch.tensor([2.0, 5.0])}, flags(True, True))
    assert averages.counted.tolist() == [True, True]
    assert averages.take(flags(True, True))["loss"].tolist() == [1.5, 5.0]
    assert not averages.counted.any()
    averages.add({"loss": torch.tensor([7.0, 1.0])}, flags(True, True))
    again = Averages(2)
    again.load_state(averages.state())
    assert again.take(flags(True, False))["loss"].tolist() == [7.0, 1.0]
    assert again.counted.tolist() == [False, True]
