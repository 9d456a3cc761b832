"""Lyapunov exponents against closed forms, a plain QR loop and determinants; float64."""

import math

import numpy as np
import pytest
import torch
from reference.plain_gradients import plain_jacobians, plain_step, qr_growth, trajectory_of
from reference.problems import RECURRENCES, Sizes, make_problem
from reference.unrolled import params_of
from torch.autograd.functional import jacobian

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.lyapunov import lyapunov
from rnnstudy.gradients.trajectories import random_trajectory, trace
from rnnstudy.recurrence.base import Nonlinearity
from rnnstudy.recurrence.lru import LRURecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence

members = pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)


def autonomous(matrix, seq_len, nonlinearity: Nonlinearity = "identity", bias=0.0):
    """h_t = f(W h_{t-1} + bias) from a state that is not zero; no inputs."""
    size = len(matrix)
    weights = {
        "weight_ih": torch.zeros(1, size, 1).double(),
        "weight_hh": matrix[None],
        "bias_ih": torch.full((1, size), bias, dtype=torch.float64),
        "bias_hh": torch.zeros(1, size).double(),
    }
    start = torch.linspace(0.1, 0.4, size, dtype=torch.float64).view(1, 1, size)
    inputs = torch.zeros(seq_len, 1, 1, 1).double()
    return trace(RNNRecurrence(nonlinearity=nonlinearity), weights, inputs, (start,))


def normal(size, seed):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((size, size)))


def with_eigenvalues(values, seed=0):
    basis = normal(len(values), seed)
    return basis @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ torch.linalg.inv(basis)


@members
@pytest.mark.parametrize("burn_in", [0, 3])
def test_exponents_are_those_of_a_plain_qr_loop(recurrence, burn_in):
    path = trajectory_of(recurrence, make_problem(recurrence, Sizes(time=8, batch=2)))
    factors = plain_jacobians(path)[0].numpy()
    found = lyapunov(path, burn_in=burn_in)
    assert found.steps == 8 - burn_in
    checked = "relu" in repr(recurrence)
    for place in np.ndindex(2, 2):
        own = factors[:, *place]
        for actual, expected in ((found.forward, own), (found.backward, own[::-1].transpose(0, 2, 1))):
            growth = qr_growth(expected)
            # A direction that a ReLU or a layer normalisation has shut is lost; it and those after it are rounding.
            kept = np.logical_and.accumulate((growth > -14).all(0))
            wanted = growth[burn_in:].mean(0)
            assert actual[place].numpy()[kept] == pytest.approx(wanted[kept], abs=1e-8)
            checked += kept.sum()
    assert checked


def test_exponents_of_a_diagonal_matrix_are_the_logarithms_of_its_entries_in_their_order():
    found = lyapunov(autonomous(torch.diag(torch.tensor([0.5, -0.9, 1.0, 1e-3], dtype=torch.float64)), 50))
    expected = [math.log(0.5), math.log(0.9), 0, math.log(1e-3)]
    assert found.forward[0, 0].tolist() == pytest.approx(expected, abs=1e-13)
    assert found.backward[0, 0].tolist() == pytest.approx(expected, abs=1e-13)


def test_exponents_of_any_constant_matrix_are_the_logarithms_of_its_eigenvalues():
    matrix = with_eigenvalues([0.95, 0.7, -0.5, 0.3])
    found = lyapunov(autonomous(matrix, 400), burn_in=300)
    expected = sorted(np.log(np.abs(np.linalg.eigvals(matrix.numpy()))), reverse=True)
    assert found.forward[0, 0].tolist() == pytest.approx(expected, abs=1e-10)
    assert found.backward[0, 0].tolist() == pytest.approx(expected, abs=1e-10)


def test_the_two_ways_come_together_like_one_over_the_length():
    matrix = with_eigenvalues([0.95, 0.7, -0.5, 0.3], seed=1)
    gaps = {}
    for seq_len in (100, 1000):
        found = lyapunov(autonomous(matrix, seq_len))
        gaps[seq_len] = float((found.forward - found.backward).abs().max())
    assert gaps[100] > 1e-3
    assert gaps[1000] == pytest.approx(gaps[100] / 10, rel=1e-6)


def test_the_two_ways_agree_at_any_length_for_a_normal_matrix():
    turn = torch.linalg.qr(normal(5, 2))[0]
    block = torch.tensor([[0.3, -0.8], [0.8, 0.3]], dtype=torch.float64)
    matrix = turn @ torch.block_diag(block, 0.4 * block, torch.tensor([[0.6]], dtype=torch.float64)) @ turn.T
    for seq_len in (1, 4, 30):
        found = lyapunov(autonomous(matrix, seq_len))
        assert torch.allclose(found.forward, found.backward, rtol=0, atol=1e-12)


def test_at_a_fixed_point_exponents_are_the_logarithms_of_its_jacobians_eigenvalues():
    matrix = with_eigenvalues([1.4, 0.8, 0.3], seed=4)
    path = autonomous(matrix, 3000, nonlinearity="tanh", bias=0.1)
    point = path.states[0][-1, 0]
    after = plain_step(path.cell, torch.zeros(1, 1).double(), point, params_of(path.weights, 0))
    assert torch.allclose(after, point, rtol=0, atol=1e-15), "the path has not come to rest"

    def step(s):
        return plain_step(path.cell, torch.zeros(1, 1).double(), s[None], params_of(path.weights, 0))[0]

    slopes = jacobian(step, point[0])
    assert isinstance(slopes, torch.Tensor)
    eigenvalues = np.abs(np.linalg.eigvals(slopes.numpy()))
    found = lyapunov(path, burn_in=2500)
    assert found.forward[0, 0].tolist() == pytest.approx(sorted(np.log(eigenvalues), reverse=True), abs=1e-9)
    # All but the first steps of the path are at rest, and they come last on the way back.
    whole = lyapunov(path)
    assert whole.backward[0, 0].tolist() == pytest.approx(sorted(np.log(eigenvalues), reverse=True), abs=0.02)


@pytest.mark.parametrize("recurrence", [r for r in RECURRENCES if "relu" not in repr(r)], ids=repr)
def test_the_sum_of_all_exponents_is_the_mean_logarithm_of_the_determinants(recurrence):
    path = trajectory_of(recurrence, make_problem(recurrence, Sizes(time=6)))
    found = lyapunov(path)
    factors = plain_jacobians(path)[0]
    expected = torch.linalg.slogdet(factors).logabsdet.mean(0)
    values = torch.linalg.svdvals(factors)
    # A layer normalisation that shuts a direction makes the determinant a matter of rounding.
    solid = (values[..., -1] > 1e-6 * values[..., 0]).all(0)
    assert solid.any() or "layer_norm=True" in repr(recurrence)
    assert torch.allclose(found.forward.sum(-1)[solid], expected[solid], rtol=0, atol=1e-8)
    assert torch.allclose(found.backward.sum(-1)[solid], expected[solid], rtol=0, atol=1e-8)


def test_exponents_of_an_lru_are_the_logarithms_of_its_complex_numbers_twice_each():
    recurrence = LRURecurrence()
    path = trajectory_of(recurrence, make_problem(recurrence, Sizes(time=20, hidden=6)))
    found = lyapunov(path)
    expected = -path.weights["log_decay"].exp().repeat_interleave(2, -1)[:, None].expand(2, 3, 6)
    assert torch.allclose(found.forward, expected, rtol=0, atol=1e-12)
    assert torch.allclose(found.backward, expected, rtol=0, atol=1e-12)


def test_a_direction_that_is_lost_has_the_exponent_minus_infinity():
    found = lyapunov(autonomous(torch.diag(torch.tensor([0.5, 0.0], dtype=torch.float64)), 10))
    assert found.forward[0, 0].tolist() == [pytest.approx(math.log(0.5), abs=1e-13), -math.inf]
    assert found.backward[0, 0].tolist() == [pytest.approx(math.log(0.5), abs=1e-13), -math.inf]


def test_a_direction_that_is_left_with_rounding_alone_is_lost_too():
    """Rank one: the product of two vectors, whose QR leaves some 1e-17 where exactly nothing is."""
    vector = torch.linspace(0.3, 1.1, 4, dtype=torch.float64)
    found = lyapunov(autonomous(torch.outer(vector, vector), 9), burn_in=1)
    assert found.forward[0, 0, 0] == pytest.approx(float(vector.square().sum().log()), abs=1e-12)
    assert (found.forward[0, 0, 1:] == -math.inf).all()
    assert (found.backward[0, 0, 1:] == -math.inf).all()


def test_a_path_that_is_not_finite_gives_nan_and_leaves_the_others_alone():
    recurrence = RNNRecurrence(nonlinearity="tanh")
    path = trajectory_of(recurrence, make_problem(recurrence, Sizes(time=6)))
    expected = lyapunov(path)
    inputs = path.inputs.clone()
    inputs[2, 0, 1] = math.nan
    found = lyapunov(trace(recurrence, path.weights, inputs, path.initial))
    others = torch.ones(2, 3, dtype=torch.bool)
    others[0, 1] = False
    for one, other in ((found.forward, expected.forward), (found.backward, expected.backward)):
        assert one[0, 1].isnan().all()
        assert torch.allclose(one[others], other[others], rtol=0, atol=1e-12)


def test_burn_in_leaves_out_the_start_of_either_way():
    path = random_trajectory(RNNRecurrence(nonlinearity="tanh"), hidden_size=4, seq_len=9, seed=0, radius=0.9)
    whole = [lyapunov(path, burn_in=number) for number in range(9)]
    assert [each.steps for each in whole] == list(range(9, 0, -1))
    factors = plain_jacobians(path)[0][:, 0, 0].numpy()
    for number, found in enumerate(whole):
        assert found.forward[0, 0].tolist() == pytest.approx(qr_growth(factors)[number:].mean(0).tolist(), abs=1e-10)
        backward = qr_growth(factors[::-1].transpose(0, 2, 1))[number:].mean(0).tolist()
        assert found.backward[0, 0].tolist() == pytest.approx(backward, abs=1e-10)


@pytest.mark.parametrize("burn_in", [-1, 5, 99])
def test_a_burn_in_that_leaves_nothing_is_refused(burn_in):
    path = autonomous(torch.eye(2).double(), 5)
    line = rf"^burn_in must be between 0 and 4, one less than the time steps, got {burn_in}\.$"
    with pytest.raises(ConfigError, match=line):
        lyapunov(path, burn_in=burn_in)
