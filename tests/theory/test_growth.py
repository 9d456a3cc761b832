"""Rates of growth against NumPy and closed forms; float64."""

import math

import numpy as np
import pytest
import torch
from reference.plain_gradients import plain_jacobians, qr_growth
from tools.topics import assert_fits, layer_of, path_of, random_small, subject_of, table

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.trajectories import RANDOM_INPUTS, random_trajectory, trace
from rnnstudy.recurrence.indrnn import IndRNNRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.theory.topics import growth
from rnnstudy.theory.topics.growth import explain_growth


@pytest.mark.parametrize("model", ["rnn", "gru", "lstm", "skip_rnn", "indrnn", "lru"])
def test_growth_is_that_of_numpy_on_plain_jacobians(trained, model):
    settings = ("model.nonlinearity=tanh",) if model == "indrnn" else ()
    for layer in trained(model, "end", *settings).layers:
        found = growth.growth_of(layer)
        factors = plain_jacobians(layer.trajectory)[0][:, 0].numpy()
        assert found.lost == 0
        spectra, norms, dets = [], [], []
        for own in factors.swapaxes(0, 1):
            spectra.append(np.sort(qr_growth(own).mean(0))[::-1])
            product = np.linalg.multi_dot([np.eye(len(own[0])), *own[::-1]])
            norms.append(math.log(np.linalg.norm(product, 2)) / len(own))
            dets.append(np.linalg.slogdet(own)[1].mean())
        np.testing.assert_allclose(found.forward, np.mean(spectra, 0), rtol=0, atol=1e-8)
        assert found.norm == pytest.approx(np.mean(norms), abs=1e-9)
        assert found.log_det == pytest.approx(np.mean(dets), abs=1e-8)
        assert found.backward.sum() == pytest.approx(np.mean(dets), abs=1e-8)
        assert found.forward[0] <= found.norm + 1e-9 or found.num_steps == 1
        assert found.sequences == 4


def test_units_that_are_off_lose_their_direction_and_the_others_keep_their_rates():
    # Every unit by itself: h = relu(u h + b), so J = diag(u) where it is on. The third is always off.
    path = path_of(
        IndRNNRecurrence(nonlinearity="relu"),
        weight_ih=torch.zeros(1, 4, RANDOM_INPUTS).double(),
        recurrent=torch.tensor([[0.5, 0.9, 0.7, 0.3]], dtype=torch.float64),
        bias=torch.tensor([[1.0, 1.0, -1.0, 1.0]], dtype=torch.float64),
    )
    found = growth.growth_of(layer_of(path))
    expected = [math.log(0.9), math.log(0.5), math.log(0.3)]
    assert found.lost == 1
    for values in (found.forward, found.backward):
        assert values[-1] == -math.inf
        assert values[:3] == pytest.approx(expected, abs=1e-12)
    assert found.norm == pytest.approx(math.log(0.9), abs=1e-12)
    topic = explain_growth(subject_of(layer_of(path)))
    (row,) = table(topic, "All exponents")
    assert (row["sum forward"], row["sum backward"], row["mean ln|det J|"]) == ("-inf", "-inf", "-inf")
    assert any("layer (1 of 4)" in line for line in topic.text)


def test_exponents_of_a_relu_network_are_not_made_of_rounding():
    path = path_of(RNNRecurrence(nonlinearity="relu"), hidden_size=12, seq_len=30, seed=3)
    found = growth.growth_of(layer_of(path))
    factors = plain_jacobians(path)[0][:, 0, 0].numpy()
    assert found.lost == max(int((~factor.any(1)).sum()) for factor in factors) > 0
    left = 12 - found.lost
    for values in (found.forward, found.backward):
        assert np.isneginf(values[left:]).all()
        assert values[:left].min() > -8, "rounding counts as growth"
    for values, own in ((found.forward, factors), (found.backward, factors[::-1].transpose(0, 2, 1))):
        expected = np.sort(rates_of(own))[::-1]
        assert values[:left] == pytest.approx(expected[:left], abs=1e-8)


def rates_of(factors):
    """Mean logarithms of what factors do to the axes, by Gram-Schmidt; a vector that is lost stays zero."""
    frame, growth = np.eye(factors.shape[1]), np.zeros(factors.shape[1])
    for factor in factors:
        frame = factor @ frame
        size = np.linalg.norm(frame)
        for j in range(frame.shape[1]):
            for _ in range(2):
                frame[:, j] -= frame[:, :j] @ (frame[:, :j].T @ frame[:, j])
            length = np.linalg.norm(frame[:, j])
            gone = length < 1e-14 * size
            growth[j] += -np.inf if gone else math.log(length)
            frame[:, j] = 0 if gone else frame[:, j] / length
    return growth / len(factors)


def test_at_a_fixed_point_exponents_are_logarithms_of_eigenvalues():
    for size in (1, 2, 8):
        fixed = growth.fixed_point_check(size)
        assert fixed.shape == (size, 3)
        np.testing.assert_allclose(fixed[:, 1:], fixed[:, [0, 0]], rtol=0, atol=1e-8)
    rows = table(explain_growth(random_small(hidden_size=8)), "At a fixed point")
    assert len(rows) == 8
    # The same network by numpy: iterate, then the eigenvalues of the Jacobian as it is written.
    drawn = random_trajectory(RNNRecurrence(nonlinearity="tanh"), hidden_size=8, seq_len=1, seed=0)
    weights = {name: weight[0].numpy() for name, weight in drawn.weights.items()}
    matrix = weights["weight_hh"] + weights["weight_hh"].T
    matrix *= 0.9 / np.abs(np.linalg.eigvals(matrix)).max()
    h = np.zeros(8)
    for _ in range(3000):
        h = np.tanh(matrix @ h + weights["bias_ih"] + weights["bias_hh"])
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(np.diag(1 - h**2) @ matrix))))[::-1]
    for name in ("ln|eig J|", "forward", "backward"):
        assert [float(row[name]) for row in rows] == pytest.approx(expected, abs=1e-8)


def test_the_largest_exponents_in_the_table_are_powers_of_ten_too():
    subject = random_small()
    topic = explain_growth(subject)
    for row, each in zip(table(topic, "The largest exponent"), subject.layers, strict=True):
        found = growth.growth_of(each)
        assert float(row["forward"]) == pytest.approx(found.forward[0], abs=6e-5)
        if not math.isfinite(found.forward[0]):
            assert row["as a factor"] == "0"
            continue
        base, power = row["as a factor"].split("^")
        assert base == "10"
        assert float(power) == pytest.approx(found.forward[0] / math.log(10), abs=6e-4)


def test_long_sequences_of_large_states_are_looked_at_in_fewer_sequences(monkeypatch, trained):
    (layer, _) = trained("lstm", "end").layers
    steps, size = layer.trajectory.num_steps, layer.trajectory.state_size
    monkeypatch.setattr(growth, "BUDGET", 2 * steps * size**3)
    assert growth.growth_of(layer).sequences == 2
    monkeypatch.setattr(growth, "BUDGET", 1)
    assert growth.growth_of(layer).sequences == 1


def test_a_relu_network_that_is_all_off_has_lost_everything():
    off = torch.full((1, 4), -100.0, dtype=torch.float64)
    path = path_of(RNNRecurrence(nonlinearity="relu"), bias_ih=off)
    topic = explain_growth(subject_of(layer_of(path)))
    assert_fits(topic)
    (row,) = table(topic, "The largest exponent")
    assert (row["forward"], row["backward"], row["as a factor"], row["norm, a step"]) == ("-inf", "-inf", "0", "0")


def test_a_path_that_is_not_finite_is_said_so():
    path = path_of(RNNRecurrence(nonlinearity="tanh"))
    path.inputs[3] = math.nan
    topic = explain_growth(subject_of(layer_of(trace(path.cell, path.weights, path.inputs))))
    assert_fits(topic)
    (row,) = table(topic, "The largest exponent")
    assert row["forward"] == row["as a factor"] == "not finite"


def test_a_run_driven_by_nothing_has_its_growth(trained):
    topic = explain_growth(trained("rnn", "end", replica=0, seq_len=12, drive="nothing"))
    assert any("12 time steps, running by itself" in line for line in topic.text)
    with pytest.raises(ConfigError):
        trained("rnn", "end", replica=9)
