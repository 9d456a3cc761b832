"""Saturation against plain formulas in float64 (relative 1e-12), and in cases where the shares are known."""

import math
from dataclasses import replace

import pytest
import torch
from tools.members import members, plan
from tools.records import NUMBERS, REPLICAS, draw, network_of, record_of

from rnnstudy.core.errors import ConfigError
from rnnstudy.instruments.base import Record
from rnnstudy.instruments.saturation import Saturation
from rnnstudy.models.base import Model, Network
from rnnstudy.models.gru import GRU
from rnnstudy.models.lru import LRU
from rnnstudy.models.lstm import LSTM
from rnnstudy.models.residual_rnn import ResidualRNN
from rnnstudy.models.rnn import RNN
from rnnstudy.recurrence.base import Recurrence
from rnnstudy.tasks.base import Task
from rnnstudy.tasks.coconut_water import CoconutWater
from rnnstudy.writers.base import Scalar

WORDS = CoconutWater(lag=21)


def build(model: Model, task: Task = NUMBERS) -> Network:
    return network_of(model, task, torch.float32)


def figures(instrument: Saturation, record: Record) -> dict[str, list[float]]:
    measured = {}
    for tag, measurement in instrument.measure(record).items():
        assert isinstance(measurement, Scalar)
        assert measurement.values.dtype == torch.float64
        assert tag.startswith("saturation/layer_")
        measured[tag.removeprefix("saturation/")] = measurement.values.tolist()
    return measured


def with_biases(model: Model, **biases: list[float]) -> Network:
    """A network whose layers see neither inputs nor states: every pre-activation is the bias of its row."""
    network = build(model)
    with torch.no_grad():
        for layer in network.recurrent_layers:
            for name, weight in layer.weights().items():
                weight.copy_(torch.tensor(biases[name]) if name in biases else torch.zeros(()))
    return network


def measured_with_biases(model: Model, margin: float = 0.05, **biases: list[float]) -> dict[str, float]:
    """The figures of the lowest layer, which are the same for all replicas."""
    measured = figures(Saturation(margin=margin), record_of(with_biases(model, **biases), draw()))
    assert all(values == [values[0]] * REPLICAS for values in measured.values())
    return {tag.removeprefix("layer_0/"): values[0] for tag, values in measured.items() if "layer_0/" in tag}


@pytest.mark.parametrize("margin", [0.05, 0.3])
def test_the_gates_of_a_stacked_lstm_are_counted_one_by_one(margin):
    """Twin: number by number, with the gates of torch.nn's equations in Python floats."""
    network, probe = build(LSTM(hidden_size=4, num_layers=2), WORDS), draw(WORDS)
    with torch.no_grad():
        for layer in network.recurrent_layers:
            layer.weights()["weight_ih"].mul_(4)
    measured = figures(Saturation(margin=margin, sequences=3), record_of(network, probe, task=WORDS))
    assert measured.keys() == {
        f"layer_{index}/{gate}/{figure}"
        for index in range(2)
        for gate in ("i", "f", "g", "o", "tanh_c")
        for figure in (("saturated",) if gate in {"g", "tanh_c"} else ("low", "high")) + ("mean_slope",)
    }
    for replica in range(REPLICAS):
        found = gates_of_a_stacked_lstm(network, probe.inputs[:, replica, :3], replica)
        for (index, gate), values in found.items():
            name = f"layer_{index}/{gate}"
            assert len(values) == WORDS.facts.seq_len * 3 * 4
            if gate in {"g", "tanh_c"}:
                slopes = [1 - v * v for v in values]
                expected = {"saturated": sum(abs(v) > 1 - margin for v in values) / len(values)}
            else:
                slopes = [v * (1 - v) for v in values]
                expected = {
                    "low": sum(v < margin for v in values) / len(values),
                    "high": sum(v > 1 - margin for v in values) / len(values),
                }
            expected["mean_slope"] = math.fsum(slopes) / len(slopes)
            for figure, value in expected.items():
                assert measured[f"{name}/{figure}"][replica] == pytest.approx(value, rel=1e-12)
    for gate in ("i", "f", "o"):
        assert all(0 < share < 1 for share in measured[f"layer_0/{gate}/low"])


def gates_of_a_stacked_lstm(network: Network, tokens: torch.Tensor, replica: int) -> dict[tuple[int, str], list[float]]:
    assert network.embedding is not None
    weights = {name: weight.double().numpy() for name, weight in network.torch_state(replica).items()}
    embedding = network.embedding[replica].detach().double().numpy()
    found: dict[tuple[int, str], list[float]] = {}
    for place in range(tokens.shape[1]):
        states = [([0.0] * 4, [0.0] * 4) for _ in range(2)]
        for token in tokens[:, place].tolist():
            x = embedding[token].tolist()
            for index in range(2):
                w_ih, w_hh, b_ih, b_hh = (
                    weights[f"{name}_l{index}"].tolist() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                )
                h, c = states[index]
                sums = [
                    math.fsum(w * v for w, v in zip(w_ih[row] + w_hh[row], x + h, strict=True)) + b_ih[row] + b_hh[row]
                    for row in range(16)
                ]
                i, f, o = ([1 / (1 + math.exp(-a)) for a in sums[4 * k : 4 * k + 4]] for k in (0, 1, 3))
                g = [math.tanh(a) for a in sums[8:12]]
                c = [f[k] * c[k] + i[k] * g[k] for k in range(4)]
                tanh_c = [math.tanh(value) for value in c]
                h = [o[k] * tanh_c[k] for k in range(4)]
                states[index], x = (h, c), h
                for gate, values in (("i", i), ("f", f), ("g", g), ("o", o), ("tanh_c", tanh_c)):
                    found.setdefault((index, gate), []).extend(values)
    return found


def test_without_weights_gates_are_half_open_and_slopes_are_the_largest_possible():
    lstm = measured_with_biases(LSTM(hidden_size=2))
    for gate in ("i", "f", "o"):
        assert (lstm[f"{gate}/low"], lstm[f"{gate}/high"], lstm[f"{gate}/mean_slope"]) == (0, 0, 0.25)
    for gate in ("g", "tanh_c"):
        assert (lstm[f"{gate}/saturated"], lstm[f"{gate}/mean_slope"]) == (0, 1)
    gru = measured_with_biases(GRU(hidden_size=2))
    assert (gru["r/mean_slope"], gru["z/mean_slope"], gru["n/mean_slope"]) == (0.25, 0.25, 1)
    assert measured_with_biases(ResidualRNN(hidden_size=2)) == {"new/saturated": 0, "new/mean_slope": 1}


def test_a_huge_bias_opens_one_gate_of_one_layer_and_no_other():
    network = with_biases(LSTM(hidden_size=2, num_layers=2), bias_ih=[-50, -50, 50, 50, 0, 0, 0, 0])
    with torch.no_grad():
        network.recurrent_layers[1].weights()["bias_ih"].zero_()
    measured = figures(Saturation(), record_of(network, draw()))
    assert measured["layer_0/i/low"] == measured["layer_0/f/high"] == [1] * REPLICAS
    assert measured["layer_0/i/high"] == measured["layer_0/f/low"] == [0] * REPLICAS
    # sigmoid(50) is 1 - 1.9e-22, in float64 1; sigmoid(-50) keeps its slope.
    assert measured["layer_0/f/mean_slope"] == [0] * REPLICAS
    assert measured["layer_0/i/mean_slope"] == pytest.approx([math.exp(-50)] * REPLICAS, rel=1e-12)
    for name in ("layer_0/o", "layer_1/i", "layer_1/f", "layer_1/o"):
        assert measured[f"{name}/low"] == measured[f"{name}/high"] == [0] * REPLICAS


def test_a_tanh_is_saturated_near_either_bound_and_the_margin_says_how_near():
    biases = [math.atanh(value) for value in (0.94, -0.96, 0.96, 0.0)]
    slope = (1 - 0.94**2 + 2 * (1 - 0.96**2) + 1) / 4
    for margin, share in ((0.05, 0.5), (0.07, 0.75), (0.03, 0.0)):
        measured = measured_with_biases(RNN(hidden_size=4), margin, bias_ih=biases)
        # The biases are float32.
        assert measured == {"h/saturated": share, "h/mean_slope": pytest.approx(slope, rel=1e-6)}


def test_a_sigmoid_is_low_near_0_and_high_near_1():
    biases = [math.log(value / (1 - value)) for value in (0.04, 0.06, 0.96, 0.97)]
    model = RNN(hidden_size=4, nonlinearity="sigmoid")
    measured = measured_with_biases(model, bias_ih=biases)
    assert (measured["h/low"], measured["h/high"]) == (0.25, 0.5)
    wider = measured_with_biases(model, 0.07, bias_ih=biases)
    assert (wider["h/low"], wider["h/high"]) == (0.5, 0.5)


def test_a_relu_is_off_where_it_is_exactly_zero():
    model = RNN(hidden_size=4, nonlinearity="relu")
    assert measured_with_biases(model, bias_ih=[1e-30, -1.0, 0.0, 3.0]) == {"h/off": 0.5, "h/mean_slope": 0.5}


def test_a_modrelu_is_off_within_its_threshold():
    model = RNN(hidden_size=4, nonlinearity="modrelu")
    measured = measured_with_biases(model, bias_ih=[1.0, -1.0, 1.0, -3.0], threshold=[-0.5, -0.5, -2.0, -2.0])
    assert measured == {"h/off": 0.25, "h/mean_slope": 0.75}


def test_the_identity_has_a_slope_only_and_a_linear_cell_has_nothing():
    assert measured_with_biases(RNN(hidden_size=4, nonlinearity="identity")) == {"h/mean_slope": 1}
    assert figures(Saturation(), record_of(build(LRU(hidden_size=4)), draw())) == {}


def test_only_the_first_sequences_of_the_probe_batch_count():
    network, probe = build(GRU(hidden_size=5)), draw()
    expected = figures(Saturation(), record_of(network, probe.sequences(0, 2)))
    with_others = replace(probe, inputs=torch.cat([probe.inputs[:, :, :2], 100 * probe.inputs[:, :, 2:]], dim=2))
    record = record_of(network, with_others, batch=draw(stream="train"))
    assert figures(Saturation(sequences=2), record) == expected
    assert figures(Saturation(sequences=3), record) != expected


def test_a_nan_makes_the_figures_of_its_replica_nan_and_no_others():
    for nonlinearity in ("tanh", "relu", "modrelu"):
        network, probe = build(RNN(hidden_size=5, nonlinearity=nonlinearity)), draw()
        expected = figures(Saturation(), record_of(network, probe))
        with torch.no_grad():
            network.recurrent_layers[0].weights()["bias_ih"][1, 0] = math.nan
        for tag, values in figures(Saturation(), record_of(network, probe)).items():
            assert math.isnan(values[1])
            assert values[0::2] == expected[tag][0::2]


def test_measuring_leaves_the_network_as_it_was():
    network, probe = build(GRU(hidden_size=5)), draw()
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    figures(Saturation(), record_of(network, probe))
    assert all(torch.equal(value, kept[name]) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("model", members("model"))
def test_every_model_has_shares_and_slopes_within_their_bounds(model):
    settings = plan(f"model={model}").model
    measured = figures(Saturation(), record_of(build(settings), draw()))
    assert bool(measured) == (type(settings.recurrence()).activated is not Recurrence.activated)
    for tag, values in measured.items():
        gate, figure = tag.split("/")[1:]
        most = 0.25 if figure == "mean_slope" and gate in {"i", "f", "o", "r", "z"} else 1
        assert all(0 <= value <= most for value in values), tag


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"margin": 0.0}, "margin must be above 0, got 0.0"),
        ({"margin": 0.5}, "margin must be below 0.5, where low and high meet, got 0.5"),
        ({"margin": math.nan}, "margin must be above 0, got nan"),
        ({"sequences": 0}, "sequences must be at least 1, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Saturation(**arguments)
