"""The gain's bound against numpy's singular values, and against the gradients it bounds."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.members import members
from tools.records import NUMBERS, TASKS, draw, figures, moved, network_of, plan_once, record_of, record_of_step

from rnnstudy.instruments.gain_bound import GainBound
from rnnstudy.instruments.hidden_grad_norm import HiddenGradNorm
from rnnstudy.models.rnn import RNN
from rnnstudy.recurrence.rnn import RNNRecurrence

STEEPEST = {"tanh": 1.0, "sigmoid": 0.25, "relu": 1.0, "identity": 1.0, "modrelu": 1.0}


@pytest.mark.parametrize("model", members("model"))
def test_vanilla_networks_alone_have_a_bound(model):
    settings = plan_once(*TASKS["loss at the end"], f"model={model}", "model.num_layers=2")
    network = network_of(settings.model, settings.task)
    measured = figures(GainBound(), record_of(network, draw()))
    vanilla = isinstance(settings.model.recurrence(), RNNRecurrence)
    assert set(measured) == ({"gain_bound/layer_0", "gain_bound/layer_1"} if vanilla else set())


@pytest.mark.parametrize("nonlinearity", STEEPEST)
def test_it_is_the_largest_slope_times_the_largest_singular_value(nonlinearity):
    network = moved(network_of(RNN(hidden_size=5, num_layers=2, nonlinearity=nonlinearity)))
    measured = figures(GainBound(), record_of(network, draw()))
    for index, layer in enumerate(network.recurrent_layers):
        weights = layer.weights()["weight_hh"].detach().numpy()
        expected = [STEEPEST[nonlinearity] * np.linalg.svd(each, compute_uv=False)[0] for each in weights]
        assert measured[f"gain_bound/layer_{index}"].tolist() == pytest.approx(expected, rel=1e-12)


def test_layer_normalisation_takes_the_bound_away():
    assert figures(GainBound(), record_of(network_of(RNN(hidden_size=4, layer_norm=True)), draw())) == {}


def test_weights_that_are_not_finite_have_none():
    network = network_of(RNN(hidden_size=4))
    with torch.no_grad():
        network.recurrent_layers[0].weights()["weight_hh"][1, 0, 0] = math.inf
    found = figures(GainBound(), record_of(network, draw()))["gain_bound/layer_0"]
    assert found.isnan().tolist() == [False, True, False]


@given(
    nonlinearity=st.sampled_from(sorted(STEEPEST)),
    hidden_size=st.integers(1, 8),
    scale=st.floats(0.1, 3.0),
    num_layers=st.integers(1, 2),
)
@settings(max_examples=15)
def test_no_gradient_of_the_top_layer_is_above_it(nonlinearity, hidden_size, scale, num_layers):
    network = network_of(RNN(hidden_size=hidden_size, num_layers=num_layers, nonlinearity=nonlinearity))
    with torch.no_grad():
        for layer in network.recurrent_layers:
            layer.weights()["weight_hh"].mul_(scale)
    record = record_of_step(network, draw(), NUMBERS)
    top = num_layers - 1
    gain = figures(GainBound(), record)[f"gain_bound/layer_{top}"]
    norms = figures(HiddenGradNorm(), record)[f"hidden_grad_norm/h/layer_{top}/total"].flip(1)
    lags = torch.arange(norms.shape[1], dtype=torch.float64)
    assert (norms <= norms[:, :1] * gain[:, None] ** lags * (1 + 1e-9)).all()
