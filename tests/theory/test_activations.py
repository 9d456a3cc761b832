"""Activations: the printed slopes and bounds against torch; float64."""

import numpy as np
import pytest
import torch
from tools.topics import assert_fits, layer_of, path_of, random_small, subject_of
from torch.nn import functional

from rnnstudy.gradients.activation_curves import ACTIVATION_CURVES
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.lru import LRURecurrence
from rnnstudy.recurrence.residual import ResidualRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.theory.topics.activations import activations_of, explain_activations

TORCH = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": lambda x: x * 1,
    "hardtanh": functional.hardtanh,
    "leaky_relu": functional.leaky_relu,
    "softplus": functional.softplus,
    "elu": functional.elu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "softsign": functional.softsign,
}


@pytest.mark.parametrize("point", [1.0, -2.5])
def test_the_table_of_activations_has_torchs_slopes_and_bounds(point):
    topic = explain_activations(random_small(hidden_size=3, seq_len=2, seed=0), point)
    assert_fits(topic)
    (table,) = topic.tables
    grid = torch.linspace(-40, 40, 80_001).double().requires_grad_()
    x = torch.tensor(point).double().requires_grad_()
    used = {"sigmoid", "tanh", "relu"}
    assert len(table.rows) == len(TORCH)
    for row in table.rows:
        name = row[0].removesuffix(" *")
        assert (row[0] != name) == (name in used)
        (slopes,) = torch.autograd.grad(TORCH[name](grid).sum(), grid)
        (slope,) = torch.autograd.grad(TORCH[name](x), x)
        closed, found = float(row[1].split("= ")[-1]), float(row[2])
        assert closed == pytest.approx(float(slopes.abs().max()), rel=1e-5)
        assert found == pytest.approx(closed, rel=1e-5)
        assert float(row[4]) == pytest.approx(float(slope), rel=5e-3, abs=1e-12)


def test_the_worked_figures_of_the_sigmoid_are_in_the_text():
    topic = explain_activations(random_small(hidden_size=2, seq_len=2, seed=0), 0.5)
    e = np.exp(-0.5) / (1 + np.exp(-0.5)) ** 2
    assert f"its slope is {e:.3g}, {400 * e:.3g} % of γ" in topic.text[1]
    assert f"10^{np.log10(0.25**10):.1f}" in topic.text[1]


def test_activations_and_gates_are_listed_with_the_layers_that_use_them():
    cells = {
        "gru": GRURecurrence(),
        "lru": LRURecurrence(),
        "residual": ResidualRecurrence(),
        "mod": RNNRecurrence(nonlinearity="modrelu"),
    }
    subject = subject_of(*(layer_of(path_of(cell), name) for name, cell in cells.items()))
    assert activations_of(subject) == {"sigmoid": ["gru"], "tanh": ["gru", "residual"], "modrelu": ["mod"]}
    text = " ".join(explain_activations(subject, 1.0).text)
    assert "on the state of lru: it goes" in text
    assert "modReLU is not in the table" in text


def test_all_activations_have_a_twin_here():
    assert set(TORCH) == set(ACTIVATION_CURVES)
