"""The opening's two networks against autograd and NumPy, and the verdicts on the page's own; float64."""

import numpy as np
import pytest
import torch
from tools.topics import cell, layer_of, path_of, subject_of

from rnnstudy.gradients.trajectories import random_trajectory, trace
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.recurrence.skip import SkipRecurrence
from rnnstudy.theory.topics.opening import RADII, explain_opening, poles, verdict


@pytest.mark.parametrize("index", [0, 1])
def test_gradient_and_norm_are_those_of_autograd(index):
    pole, drawn = poles()[index], RNNRecurrence(nonlinearity="tanh")
    path = random_trajectory(drawn, hidden_size=64, seq_len=51, seed=0, radius=RADII[index])
    weights = {name: weight[0] for name, weight in path.weights.items()}
    assert float(torch.linalg.eigvals(weights["weight_hh"]).abs().max()) == pytest.approx(RADII[index], rel=1e-12)
    h, states = torch.zeros(64, dtype=torch.float64, requires_grad=True), []
    for x in path.inputs[:, 0, 0]:
        added = weights["weight_ih"] @ x + weights["bias_ih"] + weights["bias_hh"]
        h = torch.tanh(weights["weight_hh"] @ h + added)
        states.append(h)
    gradients = torch.autograd.grad(states[-1].sum(), states[::-1], retain_graph=True)
    lengths = np.array([float(each.norm()) for each in gradients])
    np.testing.assert_allclose(10**pole.gradient, lengths / lengths[0], rtol=1e-9)
    rows = [torch.autograd.grad(unit, states[0], retain_graph=True)[0] for unit in states[-1]]
    assert 10 ** pole.norm[-1] == pytest.approx(np.linalg.norm(np.stack(rows), 2), rel=1e-9)
    sigma = np.linalg.norm(weights["weight_hh"].numpy(), 2)
    np.testing.assert_allclose(pole.bound, np.arange(51) * np.log10(sigma), atol=1e-9)


def test_one_vanishes_and_one_explodes_and_the_bound_proves_neither():
    low, high = poles()
    assert (low.verdict, high.verdict) == ("vanishes", "explodes")
    assert low.gradient[-1] < -2
    assert high.gradient[-1] > 2
    assert min(low.bound[-1], high.bound[-1]) > 0


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        ([0.0, -1.0, -2.1], "vanishes"),
        ([0.0, -np.inf], "vanishes"),
        ([0.0, 2.1, -5.0], "explodes"),
        ([0.0, np.inf], "explodes"),
        ([0.0, 1.9, -1.9], "does neither"),
        ([0.0, np.nan], "is not finite"),
    ],
)
def test_a_verdict_follows_from_the_norms(logs, said):
    assert verdict(np.array(logs)) == said


def test_networks_of_the_page_get_their_own_verdict():
    # Of slopes 1 and W_hh = 2 I nothing but powers of two is left: 2^19; with 0.5 I, 2^-19.
    for factor, said, left in (
        (2.0, "explodes", "10^5.72"),
        (0.5, "vanishes", "10^-5.72"),
        (1.0, "does neither", "10^0.00"),
    ):
        path = path_of(RNNRecurrence(nonlinearity="relu"), seq_len=20)
        weights = {name: torch.zeros_like(each) for name, each in path.weights.items()}
        weights |= {"weight_hh": factor * torch.eye(4, dtype=torch.float64)[None], "bias_ih": weights["bias_ih"] + 1.0}
        topic = explain_opening(subject_of(layer_of(trace(path.cell, weights, path.inputs))))
        assert cell(topic, "What the networks", "layer", "its gradient") == said
        assert cell(topic, "What the networks", "layer", "‖∂h_T/∂h_0‖") == left


def test_a_subject_too_large_to_measure_has_no_table():
    assert not explain_opening(subject_of(layer_of(path_of(SkipRecurrence(skip=300), seq_len=2)))).tables
