"""Replay against plain autograd where float64 reaches (log10 to 1e-9), and closed forms in mpmath where it does not."""

import math
from contextlib import nullcontext

import mpmath
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
    linear,
    moved,
    network_of,
    plan_once,
    record_of,
    record_of_step,
)

from rnnstudy.core.errors import ConfigError
from rnnstudy.core.numerics import Numerics
from rnnstudy.instruments.replay import Replay
from rnnstudy.mitigations.truncated_bptt import TruncatedBPTT
from rnnstudy.models.base import Network
from rnnstudy.models.lstm import LSTM
from rnnstudy.models.rnn import RNN
from rnnstudy.tasks.adding import Adding
from rnnstudy.tasks.parity import Parity

ATOL = 1e-9

LONG = Adding(seq_len=60)


@pytest.mark.parametrize("model", members("model"))
@pytest.mark.parametrize("task", ["loss at the end", "loss at all steps"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_logarithms_and_what_vanished_are_those_of_plain_autograd(model, task, num_layers):
    settings = plan_once(*TASKS[task], f"model={model}", f"model.num_layers={num_layers}", "model.hidden_size=4")
    network, probe = moved(network_of(settings.model, settings.task)), draw(settings.task)
    measured = figures(Replay(sequences=3), record_of(network, probe, task=settings.task))
    twin = run_plain(network, settings.task, probe.sequences(0, 3))
    tags = set()
    for index, layer in enumerate(network.recurrent_layers):
        for state in layer.recurrence.recorded:
            logs, name = twin.log10_norms(index, state), f"replay/{state}/layer_{index}"
            tags |= {f"{name}/{tag}" for tag in ("log10_total", "underflowed", "vanished")}
            expected = (10**logs).mean(-1).log10().T
            torch.testing.assert_close(measured[f"{name}/log10_total"], expected, rtol=0, atol=ATOL)
            vanished = (logs == -math.inf).double().mean((0, 2))
            assert measured[f"{name}/vanished"].tolist() == vanished.tolist()
            # The network is one of float64, where what is zero truly is.
            assert measured[f"{name}/underflowed"].tolist() == [0] * REPLICAS
    assert measured.keys() == tags


def test_words_with_a_loss_at_every_step():
    settings = plan_once(*TASKS["words, loss at all steps"], "model=gru", "model.hidden_size=3")
    network, probe = network_of(settings.model, settings.task), draw(settings.task)
    measured = figures(Replay(sequences=2), record_of(network, probe, task=settings.task))
    logs = run_plain(network, settings.task, probe.sequences(0, 2)).log10_norms(0, "h")
    expected = (10**logs).mean(-1).log10().T
    torch.testing.assert_close(measured["replay/h/layer_0/log10_total"], expected, rtol=0, atol=ATOL)


def fading(weight: float) -> Network:
    """A float32 network that multiplies its three units by one number, and reads each of them with a weight near 1."""
    network = linear(weight * torch.eye(3), LONG, torch.float32)
    with torch.no_grad():
        network.readout_weight.copy_(torch.tensor([1.0, -0.5, 0.75]))
    return network


def exact_logs(network: Network, probe, sequences: int, replica: int) -> list[float]:
    """log10 of the mean over the sequences of 2 |error| ||readout|| w^(T-t), in 50 digits."""
    with mpmath.workdps(50):
        weights = {name: each[replica].tolist() for name, each in network.recurrent_layers[0].weights().items()}
        readout = [mpmath.mpf(value) for value in network.readout_weight[replica, 0].tolist()]
        recurrent = mpmath.mpf(weights["weight_hh"][0][0])
        length = mpmath.sqrt(mpmath.fsum(value**2 for value in readout))
        errors = []
        for sequence in range(sequences):
            h = [mpmath.mpf(0)] * 3
            for x in probe.inputs[:, replica, sequence].tolist():
                h = [
                    recurrent * h[k]
                    + mpmath.fdot(weights["weight_ih"][k], x)
                    + mpmath.mpf(weights["bias_ih"][k])
                    + mpmath.mpf(weights["bias_hh"][k])
                    for k in range(3)
                ]
            output = mpmath.fdot(readout, h) + mpmath.mpf(network.readout_bias[replica, 0].item())
            errors.append(2 * abs(output - mpmath.mpf(probe.targets[0, replica, sequence, 0].item())))
        # The float32 gradient is 0.012 to 700 times a power of the weight: that decides which powers it still holds.
        assert all(0.012 < error < 700 for error in errors)
        mean = mpmath.fsum(errors) / sequences
        last = LONG.seq_len - 1
        return [float(mpmath.log10(mean * length * recurrent ** (last - t))) for t in range(LONG.seq_len)]


@pytest.mark.parametrize(
    ("weight", "flush", "held"),
    [
        # 1e-36 is a normal number of float32, 1e-48 none at all.
        (1e-12, False, 4),
        (1e-12, True, 4),
        # 1e-40 is subnormal: there, unless the processor flushes it.
        (1e-10, False, 5),
        (1e-10, True, 4),
    ],
)
def test_what_float32_shows_as_zero_is_underflowed_and_has_its_true_logarithm(weight, flush, held):
    """10^-708 at the first of 60 time steps, where float64 ends at 10^-323."""
    network, probe = fading(weight), draw(LONG)
    with Numerics(flush_subnormals=True).applied() if flush else nullcontext():
        measured = figures(Replay(sequences=2), record_of(network, probe, task=LONG))
    assert measured["replay/h/layer_0/underflowed"].tolist() == [(60 - held) / 60] * REPLICAS
    assert measured["replay/h/layer_0/vanished"].tolist() == [0] * REPLICAS
    for replica in range(REPLICAS):
        found = measured["replay/h/layer_0/log10_total"][replica].tolist()
        assert found == pytest.approx(exact_logs(network, probe, 2, replica), rel=1e-12, abs=1e-10)
        assert found[0] < -580


def test_a_gradient_that_float32_holds_is_not_underflowed():
    measured = figures(Replay(), record_of(fading(0.5), draw(LONG), task=LONG))
    assert measured["replay/h/layer_0/underflowed"].tolist() == [0] * REPLICAS


def test_a_time_step_is_underflowed_only_where_no_unit_shows_anything():
    """One unit of three fades by 1e-12 a step, the others by a half."""
    network = linear(torch.diag(torch.tensor([1e-12, 0.5, 0.5])), LONG, torch.float32)
    measured = figures(Replay(), record_of(network, draw(LONG), task=LONG))
    assert measured["replay/h/layer_0/underflowed"].tolist() == [0] * REPLICAS
    assert measured["replay/h/layer_0/vanished"].tolist() == [0] * REPLICAS


def test_an_exploding_gradient_keeps_its_logarithm_where_float32_has_none():
    """A hundred times at each of 200 steps back, along states that stay zero: 10^398 at the first."""
    task = Adding(seq_len=200)
    network = linear(100.0 * torch.eye(2), task, torch.float32)
    with torch.no_grad():
        for name, weight in network.recurrent_layers[0].weights().items():
            if name != "weight_hh":
                weight.zero_()
        network.readout_bias.fill_(-10.0)
    measured = figures(Replay(sequences=1), record_of(network, draw(task), task=task))
    curve = measured["replay/h/layer_0/log10_total"]
    assert curve.isfinite().all()
    steps = [2.0 * (199 - t) for t in range(200)]
    for replica in range(REPLICAS):
        assert (curve[replica] - curve[replica, -1]).tolist() == pytest.approx(steps, abs=1e-9)
    assert measured["replay/h/layer_0/underflowed"].tolist() == [0] * REPLICAS


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_relu_units_that_are_all_off_have_vanished_below_the_last_step(dtype):
    """What the readout makes of h_T does not ask whether h_T can move: 5 of 6 steps, and all of them a layer below."""
    network, probe = network_of(RNN(hidden_size=4, num_layers=2, nonlinearity="relu"), dtype=dtype), draw()
    with torch.no_grad():
        for layer in network.recurrent_layers:
            layer.weights()["bias_ih"].fill_(-100)
    measured = figures(Replay(), record_of(network, probe))
    assert measured["replay/h/layer_1/vanished"].tolist() == [5 / 6] * REPLICAS
    assert measured["replay/h/layer_0/vanished"].tolist() == [1] * REPLICAS
    for index in range(2):
        assert measured[f"replay/h/layer_{index}/underflowed"].tolist() == [0] * REPLICAS
    assert (measured["replay/h/layer_0/log10_total"] == -math.inf).all()
    assert (measured["replay/h/layer_1/log10_total"][:, :-1] == -math.inf).all()
    assert measured["replay/h/layer_1/log10_total"][:, -1].isfinite().all()


def test_a_single_time_step():
    task = Parity(seq_len=1)
    network, probe = network_of(LSTM(hidden_size=3), task), draw(task)
    measured = figures(Replay(), record_of(network, probe, task=task))
    for state in ("h", "c"):
        logs = run_plain(network, task, probe).log10_norms(0, state)
        expected = (10**logs).mean(-1).log10().T
        torch.testing.assert_close(measured[f"replay/{state}/layer_0/log10_total"], expected, rtol=0, atol=ATOL)


def test_mitigations_do_not_edit_what_is_replayed():
    """With truncation after one step the recorded gradient ends there; the replayed one goes on to the first step."""
    network, batch = network_of(RNN(hidden_size=4), dtype=torch.float32), draw(stream="train")
    edited = record_of_step(network, batch, Adding(seq_len=6), probe=draw(), mitigations=[TruncatedBPTT(steps=1)])
    assert not edited.adjoints[0]["h"].total[:4].any()
    measured, expected = figures(Replay(), edited), figures(Replay(), record_of(network, draw()))
    assert all(torch.equal(values, expected[tag]) for tag, values in measured.items())
    assert measured["replay/h/layer_0/log10_total"].isfinite().all()
    assert measured["replay/h/layer_0/underflowed"].tolist() == [0] * REPLICAS


def test_only_the_first_sequences_of_the_probe_count():
    network, probe = moved(network_of(RNN(hidden_size=4))), draw()
    few = figures(Replay(sequences=2), record_of(network, probe, batch=draw(stream="train")))
    alone = figures(Replay(sequences=9), record_of(network, probe.sequences(0, 2)))
    more = figures(Replay(sequences=3), record_of(network, probe))
    for tag, values in few.items():
        assert torch.allclose(values, alone[tag], rtol=0, atol=1e-12)
    curve = "replay/h/layer_0/log10_total"
    assert not torch.allclose(few[curve], more[curve], rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_leave_the_other_replicas_figures_as_they_are(value):
    network, probe = network_of(LSTM(hidden_size=3, num_layers=2)), draw()
    expected = figures(Replay(), record_of(network, probe))
    measured = figures(Replay(), record_of(damaged(network, value), probe))
    for tag, values in measured.items():
        assert torch.allclose(values[0::2], expected[tag][0::2], rtol=1e-12, atol=1e-12)
        if math.isnan(value):
            assert values[1].isnan().all(), tag


def test_sequences_must_be_one_at_least():
    with pytest.raises(ConfigError, match="sequences must be at least 1, got 0"):
        Replay(sequences=0)
