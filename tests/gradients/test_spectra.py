"""Figures of a matrix against numpy and closed forms, float64."""

import inspect
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.spectra import (
    conditions,
    non_normality,
    require_square,
    spectral_norm,
    spectral_radius,
    vanilla_bound,
)

seeds = st.integers(0, 2**32 - 1)


def unchecked(function):
    """The function as users have it: the shape check of the tests would refuse the matrix before it does."""
    return inspect.unwrap(function)


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def orthogonal(size, seed=0):
    return torch.linalg.qr(normal(size, size, seed=seed))[0]


def rotation(angle, radius=1.0):
    return radius * torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
    )


@given(size=st.integers(1, 7), replicas=st.integers(1, 3), seed=seeds)
@settings(max_examples=25)
def test_radius_norm_and_departure_agree_with_numpy_for_every_matrix_of_a_stack(size, replicas, seed):
    matrices = normal(replicas, 2, size, size, seed=seed)
    radius, norm, departure = spectral_radius(matrices), spectral_norm(matrices), non_normality(matrices)
    for place in np.ndindex(replicas, 2):
        matrix = matrices[place].numpy()
        eigenvalues = np.linalg.eigvals(matrix)
        square = np.linalg.norm(matrix, "fro") ** 2
        assert float(radius[place]) == pytest.approx(np.abs(eigenvalues).max(), rel=1e-12)
        assert float(norm[place]) == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-12)
        wanted = max(square - (np.abs(eigenvalues) ** 2).sum(), 0) / square
        assert float(departure[place]) ** 2 == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_the_norm_of_a_matrix_that_is_not_square_is_its_largest_singular_value(rows):
    matrix = normal(2, rows, 4)
    expected = [np.linalg.svd(each.numpy(), compute_uv=False)[0] for each in matrix]
    assert spectral_norm(matrix).tolist() == pytest.approx(expected, rel=1e-12)


@given(size=st.integers(1, 8), seed=seeds, scale=st.floats(0.1, 10))
@settings(max_examples=15)
def test_radius_and_norm_of_a_scaled_orthogonal_matrix_are_the_scale_and_it_is_normal(size, seed, scale):
    matrix = scale * orthogonal(size, seed)
    assert float(spectral_radius(matrix)) == pytest.approx(scale, rel=1e-12)
    assert float(spectral_norm(matrix)) == pytest.approx(scale, rel=1e-12)
    # The root of a difference of two numbers of size one, each rounded.
    assert float(non_normality(matrix)) < 1e-6


@pytest.mark.parametrize("kind", ["symmetric", "antisymmetric", "rotations", "zero"])
def test_normal_matrices_have_no_departure(kind):
    one = normal(6, 6)
    matrix = {
        "symmetric": one + one.T,
        "antisymmetric": one - one.T,
        "rotations": torch.block_diag(rotation(0.3, 0.5), rotation(2.0, 3.0), rotation(1.0)),
        "zero": torch.zeros(6, 6).double(),
    }[kind]
    assert 0 <= float(non_normality(matrix)) < 1e-6
    assert float(spectral_radius(matrix)) == pytest.approx(float(spectral_norm(matrix)), rel=1e-12)


def test_a_nilpotent_matrix_is_as_far_from_normal_as_can_be():
    matrix = torch.triu(normal(5, 5), diagonal=1)
    assert float(spectral_radius(matrix)) < 1e-12
    assert float(non_normality(matrix)) == pytest.approx(1, abs=1e-12)


def test_the_departure_of_a_triangular_matrix_is_what_stands_above_its_diagonal():
    matrix = torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.float64)
    assert float(non_normality(matrix)) == pytest.approx(4 / math.sqrt(9 + 16 + 4), rel=1e-12)


@given(size=st.integers(2, 6), seed=seeds, exponent=st.integers(-100, 100))
@settings(max_examples=15)
def test_scaling_scales_radius_and_norm_and_leaves_the_departure(size, seed, exponent):
    matrix, scale = normal(size, size, seed=seed), 10.0**exponent
    assert float(spectral_radius(matrix * scale)) == pytest.approx(float(spectral_radius(matrix)) * scale, rel=1e-9)
    assert float(spectral_norm(matrix * scale)) == pytest.approx(float(spectral_norm(matrix)) * scale, rel=1e-12)
    assert float(non_normality(matrix * scale)) == pytest.approx(float(non_normality(matrix)), abs=1e-6)


def test_a_similarity_keeps_the_radius_and_not_the_norm():
    matrix = rotation(0.7, 0.9)
    basis = torch.tensor([[1.0, 30.0], [0.0, 1.0]], dtype=torch.float64)
    similar = basis @ matrix @ torch.linalg.inv(basis)
    assert float(spectral_radius(similar)) == pytest.approx(0.9, rel=1e-9)
    assert float(spectral_norm(similar)) > 100
    assert float(non_normality(similar)) > 0.9


@pytest.mark.parametrize("figure", [spectral_radius, spectral_norm, non_normality])
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_matrix_that_is_not_finite_gives_nan_and_disturbs_no_other(figure, odd):
    matrices = normal(3, 4, 4)
    expected = figure(matrices)
    matrices[1, 2, 0] = odd
    found = figure(matrices)
    assert found.isnan().tolist() == [False, True, False]
    assert torch.equal(found[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize("figure", [spectral_radius, spectral_norm, non_normality])
def test_a_single_matrix_of_float32_is_taken_and_left_as_it_is(figure):
    matrix = normal(4, 4).float()
    before = matrix.clone()
    assert float(figure(matrix)) == pytest.approx(float(figure(matrix.double())), rel=1e-5)
    assert torch.equal(matrix, before)


def test_a_matrix_that_is_not_square_is_refused():
    with pytest.raises(ConfigError, match=r"^W must be a square matrix, got .*3.*4.*\.$"):
        require_square("W", torch.zeros(3, 4))
    with pytest.raises(ConfigError, match=r"square matrix"):
        require_square("W", torch.zeros(3))
    require_square("W", torch.zeros(2, 3, 3))


def test_the_bound_is_a_straight_line_to_zero_in_the_logarithm():
    bound = vanilla_bound(0.25, 2.0, 11)
    assert bound.dtype == torch.float64
    assert bound.tolist() == pytest.approx([(10 - k) * math.log10(0.5) for k in range(11)], rel=1e-12)
    assert vanilla_bound(1.0, 10.0, 1001)[0].item() == pytest.approx(1000, rel=1e-12)
    assert vanilla_bound(1.0, 0.0, 4).tolist() == [-math.inf, -math.inf, -math.inf, 0]
    assert vanilla_bound(0.25, 3.0, 1).tolist() == [0]


def test_what_the_conditions_say_of_a_contraction():
    found = conditions(0.9 * orthogonal(4), gamma=1.0)
    assert (found.must_vanish, found.may_explode, found.eigenvalues_below) == (True, False, True)
    assert found.radius == pytest.approx(0.9, rel=1e-12)
    assert found.norm == pytest.approx(0.9, rel=1e-12)
    assert found.gamma == 1


def test_what_the_conditions_say_of_an_expansion_and_of_the_bound_of_a_sigmoid():
    tanh, sigmoid = (conditions(3.9 * orthogonal(4), gamma=gamma) for gamma in (1.0, 0.25))
    assert (tanh.must_vanish, tanh.may_explode, tanh.eigenvalues_below) == (False, True, False)
    assert (sigmoid.must_vanish, sigmoid.may_explode, sigmoid.eigenvalues_below) == (True, False, True)
    assert conditions(4.1 * orthogonal(4), gamma=0.25).may_explode


def test_at_a_norm_of_exactly_one_neither_condition_holds():
    found = conditions(torch.eye(3).double(), gamma=1.0)
    assert (found.must_vanish, found.may_explode, found.eigenvalues_below) == (False, False, False)


def test_eigenvalues_below_one_do_not_keep_the_product_from_growing_first():
    matrix = torch.tensor([[0.9, 5.0], [0.0, 0.9]], dtype=torch.float64)
    found = conditions(matrix, gamma=1.0)
    assert (found.must_vanish, found.may_explode, found.eigenvalues_below) == (False, True, True)
    assert found.radius == pytest.approx(0.9, rel=1e-12)
    assert found.norm > 5
    assert found.non_normality == pytest.approx(5 / math.sqrt(25 + 2 * 0.81), rel=1e-12)
    norms = [float(torch.linalg.matrix_power(matrix, lag).flatten().abs().max()) for lag in range(1, 301)]
    assert max(norms) > 15
    assert norms[-1] < 1e-9


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_conditions_refuse_what_is_not_finite(odd):
    matrix = torch.eye(2).double()
    matrix[0, 1] = odd
    with pytest.raises(ConfigError, match=r"^W_hh must hold finite numbers, got 1 of 4 that are NaN or infinite\.$"):
        conditions(matrix, gamma=1.0)


@pytest.mark.parametrize(("figure", "name"), [(spectral_radius, "the matrix"), (non_normality, "the matrix")])
def test_figures_of_square_matrices_refuse_others(figure, name):
    with pytest.raises(ConfigError, match=rf"^{name} must be a square matrix, got "):
        unchecked(figure)(torch.zeros(2, 3))


def test_conditions_refuse_a_matrix_that_is_not_square():
    with pytest.raises(ConfigError, match=r"^W_hh must be a square matrix, got "):
        unchecked(conditions)(torch.zeros(2, 3), gamma=1.0)
