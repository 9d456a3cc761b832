"""Spectra against numpy.linalg matrix by matrix, float64, and matrices whose spectra are known."""

import math

import numpy as np
import pytest
import torch
from tools.members import members
from tools.records import (
    NUMBERS,
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
)

from rnnstudy.instruments.spectral import Spectral
from rnnstudy.models.gru import GRU
from rnnstudy.models.lstm import LSTM

ATOL = 1e-10

GATES = {
    "gru": ("r", "z", "n"),
    "lstm": ("i", "f", "g", "o"),
}


def matrices(network, model):
    """By tag, the matrices of every replica, cut out by the equations of the cells."""
    found = {}
    for index, layer in enumerate(network.recurrent_layers):
        weights = {name: weight.detach().double().numpy() for name, weight in layer.weights().items()}
        size, name = layer.hidden_size, f"layer_{index}"
        if "recurrent" in weights:
            found[f"{name}/recurrent"] = [np.diag(row) for row in weights["recurrent"]]
        elif "log_decay" in weights:
            found[f"{name}/eigenvalues"] = [
                rotations(np.exp(-np.exp(decay) + 1j * np.exp(phase)))
                for decay, phase in zip(weights["log_decay"], weights["log_phase"], strict=True)
            ]
        elif model in GATES:
            for place, gate in enumerate(GATES[model]):
                rows = slice(place * size, (place + 1) * size)
                found[f"{name}/weight_hh/{gate}"] = list(weights["weight_hh"][:, rows])
        else:
            found |= {f"{name}/{key}": list(weights[key]) for key in ("weight_hh", "weight_skip") if key in weights}
    return found


def rotations(eigenvalues):
    """The real matrix that multiplies pairs of numbers by complex ones."""
    whole = np.zeros((2 * len(eigenvalues),) * 2)
    for k, value in enumerate(eigenvalues):
        whole[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] = [[value.real, -value.imag], [value.imag, value.real]]
    return whole


@pytest.mark.parametrize("model", members("model"))
def test_every_recurrent_matrix_has_the_spectrum_that_numpy_finds(model):
    settings = plan_once(*TASKS["loss at the end"], f"model={model}", "model.num_layers=2")
    network = moved(network_of(settings.model, settings.task))
    measured = figures(Spectral(), record_of(network, draw()))
    expected = matrices(network, model)
    assert measured.keys() == {
        f"spectral/{name}/{figure}" for name in expected for figure in ("radius", "norm", "non_normality")
    }
    for name, each in expected.items():
        for replica, matrix in enumerate(each):
            eigenvalues = np.linalg.eigvals(matrix)
            squares = np.square(matrix).sum()
            departure = math.sqrt(max(0.0, squares - np.square(np.abs(eigenvalues)).sum())) / math.sqrt(squares)
            found = {
                figure: float(measured[f"spectral/{name}/{figure}"][replica])
                for figure in ("radius", "norm", "non_normality")
            }
            assert found["radius"] == pytest.approx(np.abs(eigenvalues).max(), abs=ATOL), name
            assert found["norm"] == pytest.approx(np.linalg.svd(matrix, compute_uv=False)[0], abs=ATOL), name
            # The root of what is left of two sums of size one: half as many digits near 0.
            assert found["non_normality"] == pytest.approx(departure, abs=1e-7), name


def measured_of(matrix):
    measured = figures(Spectral(), record_of(linear(torch.tensor(matrix, dtype=torch.float64)), draw()))
    assert all(values.tolist() == [values[0]] * REPLICAS for values in measured.values())
    return {tag.removeprefix("spectral/layer_0/weight_hh/"): float(values[0]) for tag, values in measured.items()}


def test_a_rotation_is_normal_and_a_nilpotent_matrix_is_not_at_all():
    turn = [[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]]
    assert measured_of(turn) == pytest.approx({"radius": 1, "norm": 1, "non_normality": 0}, abs=1e-7)
    assert measured_of([[0.0, 5.0], [0.0, 0.0]]) == pytest.approx({"radius": 0, "norm": 5, "non_normality": 1})
    assert measured_of([[0.0, 0.0], [0.0, 0.0]]) == {"radius": 0, "norm": 0, "non_normality": 0}


def test_the_radius_is_of_the_largest_eigenvalue_by_size_and_the_norm_can_be_far_larger():
    """[[-3, 4], [0, 2]]: eigenvalues -3 and 2; the largest singular value squared is (29 + sqrt(29^2 - 4 * 36)) / 2."""
    found = measured_of([[-3.0, 4.0], [0.0, 2.0]])
    norm = math.sqrt((29 + math.sqrt(29**2 - 4 * 36)) / 2)
    assert found == pytest.approx({"radius": 3, "norm": norm, "non_normality": math.sqrt(16 / 29)})


def test_a_single_unit_has_its_weight_as_radius_and_norm():
    assert measured_of([[-0.25]]) == pytest.approx({"radius": 0.25, "norm": 0.25, "non_normality": 0})


def test_weights_of_float32_are_looked_at_in_float64():
    """Every entry 1e-30: squares of it are zero in float32; the norm of n x n such entries is n times one."""
    network = linear(torch.full((4, 4), 1e-30), dtype=torch.float32)
    measured = figures(Spectral(), record_of(network, draw()))
    for values in measured.values():
        assert values.dtype == torch.float64
    entry = float(torch.tensor(1e-30))
    assert measured["spectral/layer_0/weight_hh/norm"].tolist() == pytest.approx([4 * entry] * REPLICAS, rel=1e-12)


def test_a_gate_of_one_layer_does_not_show_in_any_other():
    network = network_of(LSTM(hidden_size=3, num_layers=2))
    before = figures(Spectral(), record_of(network, draw()))
    with torch.no_grad():
        network.recurrent_layers[1].weights()["weight_hh"][:, 3:6] *= 2
    after = figures(Spectral(), record_of(network, draw()))
    for tag, values in after.items():
        changed = tag.startswith("spectral/layer_1/weight_hh/f/") and not tag.endswith("/non_normality")
        assert values.tolist() == pytest.approx((before[tag] * (2 if changed else 1)).tolist(), rel=1e-12), tag


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_make_the_figures_of_their_replica_nan_and_no_others(value):
    network = network_of(GRU(hidden_size=4), NUMBERS)
    expected = figures(Spectral(), record_of(network, draw()))
    broken = damaged(network, math.nan)
    with torch.no_grad():
        broken.recurrent_layers[0].weights()["weight_hh"][1, 0, 0] = value
    measured = figures(Spectral(), record_of(broken, draw()))
    for tag, values in measured.items():
        assert bool(values[1].isnan()) == ("weight_hh/r" in tag), tag
        assert torch.allclose(values[0::2], expected[tag][0::2], rtol=1e-12, atol=1e-12)
