"""Shares by lag against copies of the weights for every time step of a plain graph, float64, to 1e-9."""

import math

import pytest
import torch
from reference.plain_gradients import run_plain
from tools.members import members
from tools.records import REPLICAS, TASKS, damaged, draw, figures, linear, moved, network_of, plan_once, record_of

from rnnstudy.core.errors import ConfigError
from rnnstudy.instruments.weight_grad_terms import WeightGradTerms
from rnnstudy.models.lru import LRU
from rnnstudy.models.lstm import LSTM
from rnnstudy.models.rnn import RNN
from rnnstudy.tasks.adding import Adding
from rnnstudy.tasks.parity import Parity

ATOL = 1e-9

RECURRENT = {"indrnn": ("recurrent",), "skip_rnn": ("weight_hh", "weight_skip"), "lru": ()}
"""The weights that multiply states; `weight_hh` of all other models. None says all."""


def twin(network, task, batch, names):
    """Shares, (layer, replica, lag): every term multiplied with the sum of all terms."""
    time = len(batch.inputs)
    gathered: dict[tuple[int, int], torch.Tensor] = {}
    for index, layer, terms in run_plain(network, task, batch).terms():
        loss_step = int(batch.loss_steps[index])
        rows = torch.cat([terms[name].flatten(2) for name in names or terms], dim=-1)
        for t in range(loss_step + 1):
            key = (layer, loss_step - t)
            gathered[key] = gathered.get(key, 0) + rows[t]
    shares = []
    for layer in range(len(network.recurrent_layers)):
        lags = [gathered.get((layer, lag)) for lag in range(time)]
        like = next(each for each in lags if each is not None)
        by_lag = torch.stack([torch.zeros_like(like) if each is None else each for each in lags])
        whole = by_lag.sum(0)
        shares.append(torch.einsum("lrw,rw->rl", by_lag, whole) / whole.square().sum(-1)[:, None])
    return shares


def mean_lag(share):
    sizes = [abs(value) for value in share.tolist()]
    return math.fsum(lag * size for lag, size in enumerate(sizes)) / math.fsum(sizes)


def assert_matches(measured, shares):
    assert measured.keys() == {
        f"weight_grad_terms/layer_{index}/{tag}" for index in range(len(shares)) for tag in ("share", "mean_lag")
    }
    for index, share in enumerate(shares):
        found = measured[f"weight_grad_terms/layer_{index}/share"]
        # Where all units of a layer are off there is no gradient to have a share of.
        torch.testing.assert_close(found, share, rtol=0, atol=ATOL, equal_nan=True)
        sums = found.sum(1)
        torch.testing.assert_close(sums[~sums.isnan()], torch.ones_like(sums[~sums.isnan()]), rtol=0, atol=1e-12)
        assert not sums.isnan().all()
        expected = [mean_lag(each) for each in share]
        lags = measured[f"weight_grad_terms/layer_{index}/mean_lag"].tolist()
        assert lags == pytest.approx(expected, rel=1e-7, nan_ok=True)


@pytest.mark.parametrize("model", members("model"))
@pytest.mark.parametrize("task", ["loss at the end", "loss at all steps"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_shares_are_those_of_the_gradients_of_every_time_steps_own_weights(model, task, num_layers):
    settings = plan_once(*TASKS[task], f"model={model}", f"model.num_layers={num_layers}", "model.hidden_size=4")
    network, probe = moved(network_of(settings.model, settings.task)), draw(settings.task)
    measured = figures(WeightGradTerms(sequences=3), record_of(network, probe, task=settings.task))
    names = RECURRENT.get(model, ("weight_hh",))
    assert_matches(measured, twin(network, settings.task, probe.sequences(0, 3), names))


def test_words_with_a_loss_at_every_step():
    settings = plan_once(*TASKS["words, loss at all steps"], "model=gru", "model.hidden_size=3")
    network, probe = network_of(settings.model, settings.task), draw(settings.task)
    measured = figures(WeightGradTerms(sequences=2), record_of(network, probe, task=settings.task))
    assert_matches(measured, twin(network, settings.task, probe.sequences(0, 2), ("weight_hh",)))


def test_the_terms_of_a_linear_unit_are_powers_of_its_weight_times_its_states():
    """One unit, one sequence, loss at T = 9: the term of t is dE/dh_T w^(T-t) h_{t-1}, the lag T - t."""
    task, weight = Adding(seq_len=10), -0.8
    network, probe = linear(torch.tensor([[weight]], dtype=torch.float64), task), draw(task)
    measured = figures(WeightGradTerms(sequences=1), record_of(network, probe, task=task))
    weights = {name: each.detach() for name, each in network.recurrent_layers[0].weights().items()}
    for replica in range(REPLICAS):
        before, h = [], 0.0
        for x in probe.inputs[:, replica, 0].double():
            before.append(h)
            bias = float(weights["bias_ih"][replica] + weights["bias_hh"][replica])
            h = float(weights["weight_ih"][replica, 0] @ x) + weight * h + bias
        terms = [weight**lag * before[9 - lag] for lag in range(10)]
        expected = [term / math.fsum(terms) for term in terms]
        found = measured["weight_grad_terms/layer_0/share"][replica]
        assert found.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert min(expected) < 0 < max(expected)
        assert float(measured["weight_grad_terms/layer_0/mean_lag"][replica]) == pytest.approx(mean_lag(found))


def test_without_recurrent_weights_everything_comes_from_the_loss_step_itself():
    network = linear(torch.zeros(3, 3, dtype=torch.float64))
    measured = figures(WeightGradTerms(), record_of(network, draw()))
    for replica in range(REPLICAS):
        share = measured["weight_grad_terms/layer_0/share"][replica].tolist()
        assert share == pytest.approx([1, 0, 0, 0, 0, 0], abs=1e-15)
    assert measured["weight_grad_terms/layer_0/mean_lag"].tolist() == pytest.approx([0] * REPLICAS, abs=1e-15)


def test_at_a_single_time_step_weights_that_multiply_the_zero_state_have_no_gradient():
    task = Parity(seq_len=1)
    for model, expected in ((RNN(hidden_size=4), math.nan), (LRU(hidden_size=4), 1.0)):
        network, probe = network_of(model, task), draw(task)
        measured = figures(WeightGradTerms(), record_of(network, probe, task=task))
        found = measured["weight_grad_terms/layer_0/share"]
        assert found.shape == (REPLICAS, 1)
        assert found.flatten().tolist() == pytest.approx([expected] * REPLICAS, nan_ok=True)
        lag = expected - 1
        assert measured["weight_grad_terms/layer_0/mean_lag"].tolist() == pytest.approx([lag] * REPLICAS, nan_ok=True)


def test_a_gradient_of_zero_has_no_shares():
    network = network_of(RNN(hidden_size=4, num_layers=2))
    with torch.no_grad():
        network.readout_weight[1] = 0
    measured = figures(WeightGradTerms(), record_of(network, draw()))
    for values in measured.values():
        assert values[1].isnan().all()
        assert values[0::2].isfinite().all()


def test_only_the_first_sequences_of_the_probe_count():
    network, probe = moved(network_of(RNN(hidden_size=4))), draw()
    few = figures(WeightGradTerms(sequences=2), record_of(network, probe, batch=draw(stream="train")))
    alone = figures(WeightGradTerms(sequences=9), record_of(network, probe.sequences(0, 2)))
    more = figures(WeightGradTerms(sequences=3), record_of(network, probe))
    for tag, values in few.items():
        assert torch.allclose(values, alone[tag], rtol=0, atol=1e-12)
        assert not torch.allclose(values, more[tag], rtol=0, atol=1e-6)


def test_weights_of_nan_leave_the_other_replicas_figures_as_they_are():
    network, probe = network_of(LSTM(hidden_size=3, num_layers=2)), draw()
    expected = figures(WeightGradTerms(), record_of(network, probe))
    measured = figures(WeightGradTerms(), record_of(damaged(network, math.nan), probe))
    for tag, values in measured.items():
        assert values[1].isnan().all()
        assert torch.allclose(values[0::2], expected[tag][0::2], rtol=1e-12, atol=0)


def test_sequences_must_be_one_at_least():
    with pytest.raises(ConfigError, match="sequences must be at least 1, got 0"):
        WeightGradTerms(sequences=0)
