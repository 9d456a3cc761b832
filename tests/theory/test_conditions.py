"""The two conditions: radius, norm and departure of every matrix against NumPy; float64."""

import re

import numpy as np
import pytest
import torch
from tools.topics import assert_fits, cell, given, layer_of, path_of

from rnnstudy.gradients.jacobians import step_jacobians
from rnnstudy.gradients.spectra import Conditions
from rnnstudy.gradients.trajectories import trace
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.indrnn import IndRNNRecurrence
from rnnstudy.recurrence.lru import LRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.residual import ResidualRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.recurrence.skip import SkipRecurrence
from rnnstudy.theory.measures.contributions import measure
from rnnstudy.theory.topics import conditions
from rnnstudy.theory.topics.conditions import explain_conditions


@pytest.mark.parametrize(
    ("recurrent", "names"),
    [
        (RNNRecurrence(), ["W_hh"]),
        (GRURecurrence(), ["W_hh, r", "W_hh, z", "W_hh, n"]),
        (LSTMRecurrence(), ["W_hh, i", "W_hh, f", "W_hh, g", "W_hh, o"]),
        (SkipRecurrence(skip=3), ["W_hh", "W_skip"]),
    ],
)
def test_radius_norm_and_departure_of_every_block_are_numpys(recurrent, names):
    path = path_of(recurrent)
    weights = path.weights
    stacked = [weights[name][0].numpy() for name in ("weight_hh", "weight_skip") if name in weights]
    blocks = np.concatenate(stacked).reshape(-1, 4, 4)
    found = conditions.operators(layer_of(path))
    assert [each.name for each in found] == names
    for each, block in zip(found, blocks, strict=True):
        values = np.linalg.eigvals(block)
        frobenius = np.linalg.norm(block)
        assert each.radius == pytest.approx(np.abs(values).max(), rel=1e-10)
        assert each.norm == pytest.approx(np.linalg.svd(block)[1][0], rel=1e-10)
        departure = np.sqrt(frobenius**2 - (np.abs(values) ** 2).sum()) / frobenius
        assert each.non_normality == pytest.approx(departure, rel=1e-8)
        assert np.sort(np.abs(each.eigenvalues)) == pytest.approx(np.sort(np.abs(values)), rel=1e-9)


@pytest.mark.parametrize("recurrent", [LRURecurrence(), IndRNNRecurrence(nonlinearity="tanh")])
def test_a_diagonal_recurrence_has_the_eigenvalues_of_its_jacobian(recurrent):
    path = path_of(recurrent, seq_len=1)
    still = {name: weight * (name not in {"weight_ih", "bias"}) for name, weight in path.weights.items()}
    jacobian = step_jacobians(trace(recurrent, still, path.inputs))[0, 0, 0].numpy()
    (only,) = conditions.operators(layer_of(path))
    assert only.diagonal
    assert np.sort_complex(only.eigenvalues) == pytest.approx(np.sort_complex(np.linalg.eigvals(jacobian)), abs=1e-12)
    assert only.radius == only.norm == pytest.approx(np.linalg.norm(jacobian, 2), rel=1e-12)


def test_a_residual_cell_is_shown_with_its_jacobian_at_slope_one():
    path = path_of(ResidualRecurrence(variant="leaky", rate=0.25), seq_len=1)
    still = {name: weight * (name == "weight_hh") for name, weight in path.weights.items()}
    jacobian = step_jacobians(trace(path.cell, still, path.inputs))[0, 0, 0].numpy()
    found = conditions.operators(layer_of(path))
    assert [each.name for each in found] == ["W_hh", "0.75 I + 0.25 W_hh"]
    assert found[1].norm == pytest.approx(np.linalg.norm(jacobian, 2), rel=1e-12)


@pytest.mark.parametrize(
    ("gamma", "radius", "norm", "proves", "suggests"),
    [
        (1.0, 0.6, 0.9, "must vanish", "vanishes"),
        (1.0, 0.9, 1.5, "nothing", "vanishes"),
        (1.0, 1.2, 1.5, "nothing", "may explode"),
        (0.25, 3.9, 3.99, "must vanish", "vanishes"),
        (0.25, 4.1, 5.0, "nothing", "may explode"),
        (1.0, 1.0, 1.0 + 1e-7, "cannot explode", "neither"),
    ],
)
def test_each_condition_says_what_it_proves(gamma, radius, norm, proves, suggests):
    found = Conditions(gamma=gamma, radius=radius, norm=norm, non_normality=0.0)
    assert conditions.proof(found) == proves
    assert conditions.rule(found) == suggests


def test_a_given_matrix_on_which_the_conditions_part_is_named():
    topic = explain_conditions(given([[0.9, 5], [0, 0.9]]))
    assert_fits(topic)
    assert cell(topic, "Both conditions", "rnn, tanh", "γσ proves") == "nothing"
    assert cell(topic, "Both conditions", "rnn, tanh", "γρ suggests") == "vanishes"
    growth = float(cell(topic, "Both conditions", "rnn, sigmoid", "γσ"))
    assert growth == pytest.approx(np.linalg.norm([[0.9, 5], [0, 0.9]], 2) / 4, rel=1e-3)
    text = " ".join(topic.text)
    assert "part for: rnn, tanh / rnn, sigmoid / rnn, relu." in text
    assert "holds for none of the layers" in text
    calm = " ".join(explain_conditions(given([[0.3, 0.1], [0, 0.3]])).text)
    assert "must vanish, holds for: rnn, tanh / rnn, sigmoid / rnn, relu." in calm
    assert "part for none" in calm


def test_the_counterexamples_are_true():
    text = " ".join(explain_conditions(given([[0.5]])).text)
    first = np.array(conditions.NON_NORMAL)
    norms = [np.linalg.norm(np.linalg.matrix_power(first, n), 2) for n in range(200)]
    said = re.search(r"is (\S+) at n = 1, grows to (\S+) at n = (\d+), and is below 1 only from n = (\d+) on", text)
    assert said is not None
    start, top, peak, below = float(said[1]), float(said[2]), int(said[3]), int(said[4])
    assert np.abs(np.linalg.eigvals(first)).max() < 1
    assert start == pytest.approx(norms[1], rel=1e-2)
    assert top == pytest.approx(max(norms), rel=1e-2)
    assert norms[peak] == max(norms) > norms[1] > 1
    assert all(norm >= 1 for norm in norms[:below])
    assert all(norm < 1 for norm in norms[below:])

    second = np.array(conditions.NILPOTENT)
    assert not (second @ second).any()
    # A relu network that stands where unit 1 is on and unit 2 off has these very Jacobians.
    weights = {"weight_ih": torch.eye(2).double()[None], "weight_hh": torch.from_numpy(second)[None]}
    weights |= dict.fromkeys(("bias_ih", "bias_hh"), torch.zeros(1, 2).double())
    path = trace(RNNRecurrence(nonlinearity="relu"), weights, torch.tensor([1.0, -1.0]).double().expand(9, 1, 1, 2))
    left = measure(layer_of(path))[0].norm[:, 0]
    multiplied = re.search(r"multiplied by (\S+) at every step", text)
    assert multiplied is not None
    growth = float(multiplied[1])
    assert np.diff(left[:8]) == pytest.approx(-np.log10(growth), abs=1e-12)
