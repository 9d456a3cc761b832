"""Jacobians and their products against autograd of the plain twin, numpy, closed forms and 140 digits; float64."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.plain_gradients import (
    DIGITS,
    EXACT_STEPS,
    exact,
    exact_jacobian,
    exact_log10_norm,
    exact_params,
    exact_path,
    plain_jacobians,
    trajectory_of,
    unrolled_block,
)
from reference.problems import RECURRENCES, Sizes, make_problem, sizes

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients import jacobians
from rnnstudy.gradients.jacobians import (
    Scaled,
    contributions,
    input_contributions,
    input_jacobians,
    jacobians_backward,
    jacobians_forward,
    step_jacobians,
)
from rnnstudy.gradients.spectra import vanilla_bound
from rnnstudy.gradients.trajectories import Trajectory, random_trajectory, trace
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence

members = pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
GAMMA = {"tanh": 1.0, "sigmoid": 0.25, "relu": 1.0, "identity": 1.0}


def linear(matrix, seq_len, batch=1):
    """h_t = W h_{t-1} + x_t, input weight the identity."""
    size = len(matrix)
    weights = {
        "weight_ih": torch.eye(size).double()[None],
        "weight_hh": matrix[None],
        "bias_ih": torch.zeros(1, size).double(),
        "bias_hh": torch.zeros(1, size).double(),
    }
    inputs = torch.zeros(seq_len, 1, batch, size).double()
    return trace(RNNRecurrence(nonlinearity="identity"), weights, inputs)


def close(actual, expected, tolerance=1e-10):
    assert actual.shape == expected.shape
    assert torch.allclose(actual, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@members
def test_jacobians_of_every_step_are_those_of_the_plain_step(recurrence):
    path = trajectory_of(recurrence, make_problem(recurrence, Sizes(time=4)))
    by_state, by_input = plain_jacobians(path)
    close(step_jacobians(path), by_state)
    close(input_jacobians(path), by_input)


@members
@given(size=sizes(max_time=4))
@settings(max_examples=5)
def test_jacobians_of_any_size_are_those_of_the_plain_step(recurrence, size):
    path = trajectory_of(recurrence, make_problem(recurrence, size))
    by_state, by_input = plain_jacobians(path)
    close(step_jacobians(path), by_state)
    close(input_jacobians(path), by_input)


@members
def test_some_steps_alone_and_runs_of_any_length_give_the_same(recurrence, monkeypatch):
    path = trajectory_of(recurrence, make_problem(recurrence, Sizes(time=5, batch=2)))
    whole, of_inputs = step_jacobians(path), input_jacobians(path)
    left, product = contributions(path), input_contributions(path)
    close(step_jacobians(path, range(2, 4)), whole[2:4], 1e-13)
    close(input_jacobians(path, range(2, 4)), of_inputs[2:4], 1e-13)
    for at_once in (1, 2 * whole[0].numel() + 1):
        monkeypatch.setattr(jacobians, "AT_ONCE", at_once)
        close(torch.stack(list(jacobians_forward(path))), whole, 1e-13)
        close(torch.stack(list(jacobians_backward(path))), whole.flip(0), 1e-13)
        close(contributions(path).log10_norm, left.log10_norm, 1e-12)
        close(input_contributions(path), product, 1e-12)


@pytest.mark.parametrize("recurrence", [GRURecurrence(layer_norm=False), LSTMRecurrence(layer_norm=False)], ids=repr)
def test_jacobians_agree_with_finite_differences_of_the_engine_itself(recurrence):
    path = trajectory_of(recurrence, make_problem(recurrence, Sizes(time=3)))
    found = step_jacobians(path), input_jacobians(path)
    before, nudge = torch.cat(path.before, -1), 1e-5

    def after(inputs, states):
        return torch.cat(recurrence.step(inputs, states.chunk(len(recurrence.states), -1), path.weights), -1)

    for tensor, jacobian, of in ((before, found[0], 1), (path.inputs, found[1], 0)):
        for number in range(tensor.shape[-1]):
            shift = torch.zeros_like(tensor)
            shift[..., number] = nudge
            ends = [(path.inputs, tensor + sign * shift) if of else (tensor + sign * shift, before) for sign in (1, -1)]
            slope = (after(*ends[0]) - after(*ends[1])) / (2 * nudge)
            assert torch.allclose(jacobian[..., number], slope, rtol=0, atol=1e-9)


@members
def test_contributions_are_figures_of_blocks_of_the_product_and_of_the_unrolled_loop(recurrence):
    path = trajectory_of(recurrence, make_problem(recurrence, Sizes(time=5, batch=2)))
    by_state, by_input = plain_jacobians(path)
    for number, state in enumerate(recurrence.states):
        place = slice(number * path.hidden_size, (number + 1) * path.hidden_size)
        found, of_inputs = contributions(path, state), input_contributions(path, state)
        product = torch.eye(path.state_size).double().expand_as(by_state[0])
        steps = torch.zeros(by_state.shape[1:3]).double()
        for k in range(4, -1, -1):
            block = product[..., place, place]
            if number < 2:
                close(block, unrolled_block(path, k, state), 1e-11)
            norm, largest = torch.linalg.matrix_norm(block, 2), block.abs().amax((-1, -2))
            gain = block.square().sum((-1, -2)).sqrt() / math.sqrt(path.hidden_size)
            for actual, wanted in (
                (found.log10_norm, norm),
                (found.log10_largest, largest),
                (found.log10_gain, gain),
                (of_inputs, torch.linalg.matrix_norm((product @ by_input[k])[..., place, :], 2)),
            ):
                assert torch.allclose(actual[k], wanted.log10(), rtol=0, atol=1e-10), (state, k)
            assert torch.allclose(found.log10_steps[k], steps, rtol=0, atol=1e-10)
            alone = torch.linalg.matrix_norm(by_state[k], 2).log10()
            assert torch.allclose(found.log10_step[k], alone, rtol=0, atol=1e-10)
            product, steps = product @ by_state[k], steps + alone


@members
@given(size=sizes(max_time=8), cut=st.integers(0, 7))
@settings(max_examples=5)
def test_no_product_is_larger_than_its_factors_are_together(recurrence, size, cut):
    path = trajectory_of(recurrence, make_problem(recurrence, size))
    found = contributions(path)
    assert (found.log10_norm <= found.log10_steps + 1e-9).all()
    assert (found.log10_largest <= found.log10_norm + 1e-9).all()
    assert (found.log10_gain <= found.log10_norm + 1e-9).all()
    cut = min(cut, size.time - 1)
    if len(recurrence.states) == 1:
        early = trace(path.cell, path.weights, path.inputs[: cut + 1], path.initial)
        assert (found.log10_norm[: cut + 1] <= found.log10_norm[cut] + contributions(early).log10_norm + 1e-9).all()


@pytest.mark.parametrize("alpha", [0.9, 1e-2, 30.0])
def test_a_scaled_orthogonal_linear_network_attains_the_bound_far_beyond_float64(alpha):
    turn = torch.linalg.qr(torch.from_numpy(np.random.default_rng(3).standard_normal((4, 4))))[0]
    path = linear(alpha * turn, 251, batch=2)
    expected = torch.tensor([(250 - k) * math.log10(alpha) for k in range(251)], dtype=torch.float64)[
        :, None, None
    ].expand(-1, 1, 2)
    found = contributions(path)
    for figure in (found.log10_norm, found.log10_gain, found.log10_steps, input_contributions(path)):
        assert torch.allclose(figure, expected, rtol=1e-13, atol=1e-11)
    assert torch.allclose(vanilla_bound(1.0, alpha, 251), expected[:, 0, 0], rtol=1e-13, atol=1e-11)
    assert (found.log10_largest <= expected + 1e-9).all()


@given(
    nonlinearity=st.sampled_from(sorted(GAMMA)),
    hidden_size=st.integers(1, 12),
    seq_len=st.integers(1, 30),
    seed=st.integers(0, 2**31),
    radius=st.one_of(st.none(), st.floats(0, 6)),
)
@settings(max_examples=25)
def test_the_bound_is_never_crossed(nonlinearity, hidden_size, seq_len, seed, radius):
    path = random_trajectory(
        RNNRecurrence(nonlinearity=nonlinearity), hidden_size=hidden_size, seq_len=seq_len, seed=seed, radius=radius
    )
    norm = float(np.linalg.norm(path.weights["weight_hh"][0].numpy(), 2))
    found = contributions(path)
    bound = vanilla_bound(GAMMA[nonlinearity], norm, seq_len)[:, None, None]
    assert (found.log10_norm <= bound + 1e-9).all()
    assert (found.log10_steps <= bound + 1e-9).all()
    assert found.log10_norm[-1].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["rnn", pytest.param("gru", marks=pytest.mark.slow), "lstm"])
def test_products_below_1e_minus_400_agree_with_140_digits(name):
    recurrence, rows, lag = {
        "rnn": (RNNRecurrence(nonlinearity="tanh"), 1, 70),
        "gru": (GRURecurrence(), 3, 70),
        "lstm": (LSTMRecurrence(), 4, 70),
    }[name]
    problem = make_problem(recurrence, Sizes(time=lag + 1, replica=1, batch=1, input=2, hidden=3))
    weights = {key: weight.detach().clone() for key, weight in problem.weights.items()}
    weights["weight_hh"] *= 1e-9
    # The block that keeps the state (z, f) shut; the vanilla network has none.
    weights["bias_ih"][:, (rows > 1) * 3 : 6 if rows > 1 else 0] = -20.0
    path = trace(recurrence, weights, problem.inputs.detach())
    with mpmath.workdps(DIGITS):
        step, params = EXACT_STEPS[name], exact_params(weights)
        inputs = exact(path.inputs[:, 0, 0].tolist())
        states = exact_path(step, inputs, exact([0.0] * path.state_size), params)
        exact_steps = [exact_jacobian(step, x, s, params) for x, s in zip(inputs, states, strict=False)]
        for number, state in enumerate(recurrence.states):
            found, product = contributions(path, state), mpmath.eye(path.state_size)
            first = 3 * number
            for k in range(lag, -1, -1):
                wanted = exact_log10_norm(product[first : first + 3, first : first + 3])
                assert found.log10_norm[k].item() == pytest.approx(wanted, rel=1e-12, abs=1e-12), (state, k)
                product *= exact_steps[k]
            assert found.log10_norm[0].item() < -400


def test_what_is_lost_altogether_is_minus_infinity_and_stays_so():
    nilpotent = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    path = linear(nilpotent, 6)
    found = contributions(path)
    assert found.log10_norm[:, 0, 0].tolist() == [-math.inf, -math.inf, -math.inf, 0, 0, 0]
    assert found.log10_largest[:, 0, 0].tolist() == [-math.inf, -math.inf, -math.inf, 0, 0, 0]
    assert found.log10_steps[:, 0, 0].tolist() == [0] * 6
    assert input_contributions(path)[:, 0, 0].tolist() == [-math.inf, -math.inf, -math.inf, 0, 0, 0]


def test_a_sequence_that_is_not_finite_gives_nan_and_leaves_the_others_alone():
    recurrence = GRURecurrence()
    problem = make_problem(recurrence, Sizes(time=4))
    path = trajectory_of(recurrence, problem)
    expected, of_inputs = contributions(path), input_contributions(path)
    inputs = path.inputs.clone()
    inputs[2, 1, 0] = math.nan
    odd = trace(recurrence, path.weights, inputs, path.initial)
    found, odd_inputs = contributions(odd), input_contributions(odd)
    others = torch.ones(2, 3, dtype=torch.bool)
    others[1, 0] = False
    for one, other in ((found.log10_norm, expected.log10_norm), (odd_inputs, of_inputs)):
        assert torch.allclose(one[:, others], other[:, others], rtol=0, atol=1e-12)
        assert one[:2, 1, 0].isnan().all()


@given(exponent=st.integers(-300, 300), power=st.integers(-5000, 5000), seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_scaled_matrices_have_an_ordinary_size_and_the_same_value(exponent, power, seed):
    values = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, 3, 4, 5))) * 10.0**exponent
    scaled = Scaled.of(values, float(power))
    largest = scaled.values.abs().amax(-1)
    assert ((largest >= 0.5) & (largest < 1)).all()
    assert torch.equal(scaled.exponents, scaled.exponents.round())
    back = scaled.values * 2.0 ** (scaled.exponents - power)[..., None]
    assert torch.equal(back, values)
    logs = scaled.log10(torch.linalg.matrix_norm)
    expected = torch.linalg.matrix_norm(values / 10.0**exponent).log10() + exponent + power * math.log10(2)
    assert torch.allclose(logs, expected, rtol=1e-13, atol=1e-11)


def test_rows_may_lie_any_number_of_powers_apart():
    """W = diag(1, 1e-3): the second unit alone takes in the input, and is 1e-597 of the first after 199 steps."""
    weights = {
        "weight_ih": torch.tensor([[[0.0], [1.0]]]).double(),
        "weight_hh": torch.diag(torch.tensor([1.0, 1e-3], dtype=torch.float64))[None],
        "bias_ih": torch.zeros(1, 2).double(),
        "bias_hh": torch.zeros(1, 2).double(),
    }
    path = trace(RNNRecurrence(nonlinearity="identity"), weights, torch.zeros(200, 1, 1, 1).double())
    expected = -3.0 * torch.arange(199, -1, -1).double()
    assert torch.allclose(input_contributions(path).flatten(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("figure", [contributions, input_contributions])
def test_a_state_that_the_cell_does_not_have_is_refused(figure):
    path: Trajectory = linear(torch.eye(2).double(), 3)
    with pytest.raises(ConfigError, match=r"^state must be one of h for this cell, got 'c'\.$"):
        figure(path, "c")
