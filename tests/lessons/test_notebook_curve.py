"""The lecture notebook's curve digit by digit, and the Jacobian product against autograd."""

import numpy as np
import pytest
import torch

from rnnstudy.lessons.notebook_curve import notebook_curve

BELOW, ABOVE = notebook_curve("below"), notebook_curve("above")
CASES = pytest.mark.parametrize("case", ["below", "above"])


def drawn(case):
    """The drawn h, x and b, and the curve of that case."""
    if case == "above":
        return np.zeros((5, 20)), np.zeros((5, 20)), np.zeros((5, 1)), ABOVE
    stream = np.random.RandomState(12345)
    return stream.randn(5, 20), stream.randn(5, 20), stream.randn(5, 1), BELOW


def global_stream():
    return str(np.random.get_state())  # noqa: NPY002  the stream that must stay as it is


def autograd_jacobians(case):
    """dh_20/dh_{k-1} and dh_20/dx_k for k = 1..20: a chain whose states are the drawn ones but whose gradients flow."""
    h, x, b, curve = drawn(case)
    h, b, weight_hh, weight_hx = map(torch.from_numpy, (h, b[:, 0], curve.weight_hh, curve.weight_hx))

    def last_state(nudges, inputs):
        state = torch.zeros(5, dtype=torch.float64)
        for i in range(20):
            before = h[:, i] + (state - state.detach()) + nudges[:, i]
            state = torch.sigmoid(weight_hh @ before + weight_hx @ inputs[:, i] + b)
        return state

    arguments = (torch.zeros(5, 20, dtype=torch.float64), torch.from_numpy(x))
    jacobians = torch.autograd.functional.jacobian(last_state, arguments)
    return [jacobian.permute(2, 0, 1).numpy() for jacobian in jacobians]


def test_the_published_values_come_out_digit_by_digit():
    assert [f"{value:.6e}" for value in BELOW.published[[0, -1]]] == ["1.304390e-14", "1.207213e+00"]


@CASES
def test_the_published_curve_is_what_the_notebooks_own_arithmetic_gives(case):
    h, x, b, curve = drawn(case)
    for k in range(1, 21):
        product = 1
        for i in range(19, k - 2, -1):
            a = curve.weight_hh @ h[:, i] + curve.weight_hx @ x[:, i] + b
            assert a.shape == (5, 5)
            slope = 1 / (1 + np.exp(-a)) / (1 + np.exp(a))
            product *= curve.weight_hh.T @ np.diag(slope)
        assert curve.published[k - 1] == pytest.approx(np.max(product), rel=1e-9)
        assert curve.published_size[k - 1] == pytest.approx(np.max(np.abs(product)), rel=1e-9)


@CASES
def test_the_true_curves_agree_with_autograd(case):
    curve = drawn(case)[-1]
    states, inputs = autograd_jacobians(case)
    np.testing.assert_allclose(curve.true_norm, np.linalg.svd(states, compute_uv=False)[:, 0], rtol=1e-9)
    np.testing.assert_allclose(curve.true_largest, np.abs(states).max((1, 2)), rtol=1e-9)
    np.testing.assert_allclose(curve.input_norm, np.linalg.svd(inputs, compute_uv=False)[:, 0], rtol=1e-9)


def test_above_four_the_seed_is_set_anew_and_only_the_weights_are_drawn():
    stream = np.random.RandomState(12345)
    np.testing.assert_array_equal(ABOVE.weight_hx, stream.randn(5, 5))
    np.testing.assert_array_equal(ABOVE.eigenvalues, 4 + 10 * stream.rand(5))
    eigenvectors = stream.randn(5, 5)
    np.testing.assert_allclose(ABOVE.weight_hh @ eigenvectors, eigenvectors * ABOVE.eigenvalues, rtol=0, atol=1e-11)


def test_above_four_the_curves_are_powers_in_closed_form():
    column_sums = ABOVE.weight_hh.sum(axis=0) / 4
    for k in range(1, 21):
        power = np.linalg.matrix_power(ABOVE.weight_hh / 4, 21 - k)
        assert ABOVE.true_norm[k - 1] == pytest.approx(np.linalg.norm(power, 2), rel=1e-10)
        assert ABOVE.published[k - 1] == pytest.approx((column_sums ** (21 - k)).max(), rel=1e-10)


@CASES
def test_singular_values_bound_the_truth_at_every_step(case):
    curve = drawn(case)[-1]
    assert (curve.true_norm <= curve.bound * (1 + 1e-12)).all()
    assert (curve.input_norm <= curve.input_bound * (1 + 1e-12)).all()
    hidden, inputs = (np.linalg.svd(weight)[1][0] / 4 for weight in (curve.weight_hh, curve.weight_hx))
    assert curve.spectral_norm == pytest.approx(4 * hidden, rel=1e-13)
    for k in range(1, 21):
        assert curve.bound[k - 1] == pytest.approx(hidden ** (21 - k), rel=1e-12)
        assert curve.input_bound[k - 1] == pytest.approx(hidden ** (20 - k) * inputs, rel=1e-12)


def test_the_rule_of_the_eigenvalues_is_no_bound():
    assert BELOW.true_norm[-1] > 1 > BELOW.eigenvalue_rule[-1]
    assert (ABOVE.true_norm > ABOVE.eigenvalue_rule).all()


@CASES
def test_the_matrix_has_the_eigenvalues_that_were_drawn(case):
    curve = drawn(case)[-1]
    low, high = {"below": (0, 4), "above": (4, 14)}[case]
    assert ((curve.eigenvalues >= low) & (curve.eigenvalues < high)).all()
    np.testing.assert_allclose(
        np.sort(np.linalg.eigvals(curve.weight_hh).real), np.sort(curve.eigenvalues), rtol=0, atol=1e-11
    )


def test_matrix_products_in_the_notebooks_order_are_three_times_too_large():
    h, x, b, curve = drawn("below")
    slopes = 1 / (2 + 2 * np.cosh(curve.weight_hh @ h + curve.weight_hx @ x + b))
    transposed = [curve.weight_hh.T @ np.diag(slope) for slope in slopes.T]
    last_to_first, first_to_last = np.linalg.multi_dot(transposed[::-1]), np.linalg.multi_dot(transposed)
    assert np.linalg.norm(last_to_first, 2) == pytest.approx(1.68e-13, rel=3e-3)
    assert np.linalg.norm(first_to_last, 2) == pytest.approx(BELOW.true_norm[0], rel=1e-9)
    assert BELOW.true_norm[0] == pytest.approx(5.4e-14, rel=1e-2)


def test_the_global_stream_of_numpy_is_not_touched():
    before = global_stream()
    notebook_curve("below")
    assert global_stream() == before
