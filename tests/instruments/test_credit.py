"""Credit against explicit masks over gradients from plain autograd, float64, relative error 1e-9."""

import math
from dataclasses import replace

import pytest
import torch
from reference.plain_gradients import run_plain
from tools.members import members
from tools.records import (
    REPLICAS,
    TASKS,
    damaged,
    draw,
    figures,
    moved,
    network_of,
    plan_once,
    record_of_adjoints,
    record_of_norms,
    record_of_step,
)

from rnnstudy.instruments.credit import Credit
from rnnstudy.models.rnn import RNN
from rnnstudy.tasks.parity import Parity

RTOL = 1e-9


def masked(norms, informative, replica):
    """log10_ratio and share of one replica, number by number."""
    there, elsewhere = [], []
    for time_step in range(len(norms)):
        for sequence in range(norms.shape[2]):
            side = there if informative[time_step, replica, sequence] else elsewhere
            side.append(float(norms[time_step, replica, sequence]))
    inside, outside = math.fsum(there), math.fsum(elsewhere)
    ratio = (inside / len(there)) / (outside / len(elsewhere)) if elsewhere else math.nan
    return math.log10(ratio) if ratio else -math.inf, inside / (inside + outside)


def marked(*rows):
    """A batch of one sequence per replica, whose informative time steps are given."""
    return replace(draw(Parity(seq_len=len(rows[0])), batch_size=1), informative=chosen(rows).T[:, :, None])


def chosen(rows):
    return torch.tensor(rows, dtype=torch.bool)


@pytest.mark.parametrize("model", members("model"))
@pytest.mark.parametrize("task", ["loss at the end", "loss at all steps"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_ratio_and_share_are_those_of_the_masked_norms_of_plain_autograd(model, task, num_layers):
    settings = plan_once(*TASKS[task], f"model={model}", f"model.num_layers={num_layers}")
    network, batch = moved(network_of(settings.model, settings.task)), draw(settings.task)
    measured = figures(Credit(), record_of_step(network, batch, settings.task))
    twin = run_plain(network, settings.task, replace(batch, counted=batch.answer))
    expected_tags = set()
    for index, layer in enumerate(network.recurrent_layers):
        for state in layer.recurrence.recorded:
            norms = 10 ** twin.log10_norms(index, state)
            name = f"credit/{state}/layer_{index}"
            expected_tags |= {f"{name}/log10_ratio", f"{name}/share"}
            for replica in range(REPLICAS):
                ratio, share = masked(norms, batch.informative, replica)
                assert float(measured[f"{name}/log10_ratio"][replica]) == pytest.approx(ratio, rel=RTOL, abs=RTOL)
                assert float(measured[f"{name}/share"][replica]) == pytest.approx(share, rel=RTOL)
    assert measured.keys() == expected_tags


def test_words_have_one_informative_step_and_the_training_batch_not_the_probe_tells_which():
    settings = plan_once(*TASKS["words, loss at all steps"], "model=gru")
    network, batch = network_of(settings.model, settings.task), draw(settings.task)
    unmarked = replace(batch, informative=torch.zeros_like(batch.informative))
    measured = figures(Credit(), record_of_step(network, batch, settings.task, probe=unmarked))
    norms = 10 ** run_plain(network, settings.task, replace(batch, counted=batch.answer)).log10_norms(0, "h")
    for replica in range(REPLICAS):
        ratio, share = masked(norms, batch.informative, replica)
        assert float(measured["credit/h/layer_0/log10_ratio"][replica]) == pytest.approx(ratio, rel=RTOL)
        assert float(measured["credit/h/layer_0/share"][replica]) == pytest.approx(share, rel=RTOL)


def test_marks_that_differ_between_sequences_are_followed_sequence_by_sequence():
    """Replica 0: 3 and 5 of 3 + 1 + 2 + 5, mean 4 against mean 1.5; replica 1: the other two."""
    norms = torch.tensor([[[3.0, 1.0], [2.0, 5.0]], [[3.0, 1.0], [2.0, 5.0]]], dtype=torch.float64)
    adjoint = norms.transpose(0, 1)[..., None] / 2
    batch = replace(
        draw(Parity(seq_len=2), batch_size=2),
        informative=chosen([[[1, 0], [0, 1]], [[0, 1], [1, 0]]]).transpose(0, 1),
    )
    measured = figures(Credit(), record_of_adjoints({"h": adjoint}, batch=batch))
    assert measured["credit/h/layer_0/log10_ratio"].tolist() == pytest.approx(
        [math.log10(4 / 1.5), math.log10(1.5 / 4)]
    )
    assert measured["credit/h/layer_0/share"].tolist() == pytest.approx([8 / 11, 3 / 11])


def test_a_gradient_that_is_the_same_everywhere_has_a_ratio_of_one_and_the_share_of_the_marked_steps():
    measured = figures(Credit(), record_of_norms([[2.0] * 8], batch=marked([1, 0, 0, 0, 1, 0, 0, 0])))
    assert measured["credit/h/layer_0/log10_ratio"].tolist() == [0]
    assert measured["credit/h/layer_0/share"].tolist() == [0.25]


def test_a_gradient_far_below_float32_still_has_its_ratio():
    """Squares of 1e-200 are no numbers of float64 either."""
    measured = figures(Credit(), record_of_norms([[1e-200, 1e-100]], batch=marked([1, 0])))
    assert measured["credit/h/layer_0/log10_ratio"].tolist() == pytest.approx([-100])
    assert measured["credit/h/layer_0/share"].tolist() == pytest.approx([1e-100])


def test_zero_at_the_informative_steps_alone_is_minus_infinity_and_zero_everywhere_is_not_a_number():
    rows = [[0.0, 0.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 1.0, 2.0]]
    measured = figures(Credit(), record_of_norms(rows, batch=marked(*[[1, 1, 0, 0]] * 3)))
    ratio, share = measured["credit/h/layer_0/log10_ratio"].tolist(), measured["credit/h/layer_0/share"].tolist()
    assert ratio[0] == -math.inf
    assert math.isnan(ratio[1])
    assert ratio[2] == pytest.approx(math.log10(0.5 / 1.5))
    assert share[0] == 0
    assert math.isnan(share[1])
    assert share[2] == 0.25


def test_where_all_steps_are_informative_there_is_nothing_to_tell():
    task = Parity(seq_len=5)
    network, batch = network_of(RNN(hidden_size=3), task), draw(task)
    assert batch.informative.all()
    assert not figures(Credit(), record_of_step(network, batch, task))


def test_where_no_step_is_informative_there_is_nothing_to_tell():
    assert not figures(Credit(), record_of_norms([[1.0, 2.0]], batch=marked([0, 0])))


@pytest.mark.parametrize("place", [0, 1])
def test_what_is_infinite_has_no_figures_and_zero_elsewhere_alone_is_infinity(place):
    row = [1.0, 2.0]
    row[place] = math.inf
    measured = figures(Credit(), record_of_norms([row], batch=marked([1, 0])))
    assert all(values.isnan().all() for values in measured.values())
    measured = figures(Credit(), record_of_norms([[1.0, 0.0]], batch=marked([1, 0])))
    assert measured["credit/h/layer_0/log10_ratio"].tolist() == [math.inf]
    assert measured["credit/h/layer_0/share"].tolist() == [1]


@pytest.mark.parametrize("place", [0, 2])
def test_a_nan_makes_the_figures_of_its_replica_nan_and_no_others(place):
    rows = [[1.0, 2.0, 3.0, 4.0] for _ in range(3)]
    expected = figures(Credit(), record_of_norms(rows, batch=marked(*[[1, 1, 0, 0]] * 3)))
    rows[1][place] = math.nan
    measured = figures(Credit(), record_of_norms(rows, batch=marked(*[[1, 1, 0, 0]] * 3)))
    for tag, values in measured.items():
        assert values[1].isnan()
        assert torch.equal(values[0::2], expected[tag][0::2])


def test_weights_of_nan_leave_the_other_replicas_figures_as_they_are():
    settings = plan_once(*TASKS["loss at the end"], "model=lstm", "model.num_layers=2")
    network, batch = network_of(settings.model, settings.task), draw(settings.task)
    expected = figures(Credit(), record_of_step(network, batch, settings.task))
    measured = figures(Credit(), record_of_step(damaged(network, math.nan), batch, settings.task))
    for tag, values in measured.items():
        assert values[1].isnan()
        assert torch.equal(values[0::2], expected[tag][0::2])
