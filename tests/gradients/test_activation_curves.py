import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.activation_curves import ACTIVATION_CURVES, find_curve, numeric_bound, tangent
from rnnstudy.recurrence.activations import ACTIVATIONS

EXACT_DIGITS = 800

TORCH = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": functional.relu,
    "identity": torch.clone,
    "hardtanh": functional.hardtanh,
    "leaky_relu": functional.leaky_relu,
    "softplus": lambda x: functional.softplus(x, threshold=100),
    "elu": functional.elu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "softsign": functional.softsign,
}

EXACT = {
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "tanh": mpmath.tanh,
    "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    "softsign": lambda x: x / (1 + abs(x)),
    "elu": lambda x: x if x > 0 else mpmath.expm1(x),
}

POINTS = np.concatenate([np.linspace(-12, 12, 481), [1e-9, -1e-9, 1e-3]])

by_name = pytest.mark.parametrize("name", ACTIVATION_CURVES)


def test_every_curve_has_its_twin_in_torch_and_every_network_without_a_threshold_its_curve():
    assert set(ACTIVATION_CURVES) == set(TORCH)
    assert {name for name, each in ACTIVATIONS.items() if not each.has_threshold} <= set(ACTIVATION_CURVES)


@by_name
def test_value_and_slope_are_those_of_torch_at_kinks_too(name):
    x = torch.tensor(POINTS, requires_grad=True)
    values = TORCH[name](x)
    (slopes,) = torch.autograd.grad(values.sum(), x)
    curve = ACTIVATION_CURVES[name]
    np.testing.assert_allclose(curve.value(POINTS), values.detach().numpy(), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(curve.slope(POINTS), slopes.numpy(), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("point", [-700.0, -300.0, -36.0, -20.0, -3.5, 0.25, 3.5, 20.0, 36.0, 300.0])
def test_slope_has_twelve_digits_in_the_tails(name, point):
    with mpmath.workdps(EXACT_DIGITS):
        exact = float(mpmath.diff(EXACT[name], mpmath.mpf(point)))
    found = float(ACTIVATION_CURVES[name].slope(point))
    assert found == pytest.approx(exact, rel=1e-12, abs=1e-307)


def test_slope_does_not_vanish_where_the_textbook_formula_gives_zero():
    assert float(ACTIVATION_CURVES["sigmoid"].slope(-700.0)) == pytest.approx(math.exp(-700), rel=1e-12)
    assert float(ACTIVATION_CURVES["sigmoid"].slope(700.0)) == pytest.approx(math.exp(-700), rel=1e-12)
    assert float(ACTIVATION_CURVES["tanh"].slope(20.0)) == pytest.approx(4 * math.exp(-40), rel=1e-12)


@by_name
def test_closed_bound_is_what_a_search_finds(name):
    curve = ACTIVATION_CURVES[name]
    assert numeric_bound(curve) == pytest.approx(curve.bound, abs=1e-9)


@by_name
def test_bound_is_attained_where_it_is_said_to_be_and_exceeded_nowhere(name):
    curve = ACTIVATION_CURVES[name]
    steepness = np.abs(curve.slope(np.linspace(-60, 60, 12_345)))
    assert steepness.max() <= curve.bound * (1 + 1e-15)
    if curve.steepest is not None:
        assert abs(float(curve.slope(curve.steepest))) == pytest.approx(curve.bound, rel=1e-15)
    else:
        assert steepness[:6000].max() < curve.bound


def test_bounds_have_the_published_digits():
    found = {name: round(ACTIVATION_CURVES[name].bound, 4) for name in ("sigmoid", "tanh", "silu", "gelu")}
    assert found == {"sigmoid": 0.25, "tanh": 1.0, "silu": 1.0998, "gelu": 1.1289}


@by_name
@settings(max_examples=15)
@given(st.floats(min_value=-8, max_value=8))
def test_tangent_touches_the_curve(name, point):
    curve = ACTIVATION_CURVES[name]
    touching = tangent(curve, point)
    assert float(touching.height(np.array(point))) == float(curve.value(point))
    near = np.array([point - 1e-4, point + 1e-4])
    if all(kink < near[0] or kink > near[1] for kink in (-1.0, 0.0, 1.0)):
        # |f''| is at most 2 for all of them.
        assert np.abs(touching.height(near) - curve.value(near)).max() <= 1e-8 + 1e-15


@by_name
@pytest.mark.parametrize("point", [-1e308, 1e308])
def test_slope_of_a_huge_number_is_finite_and_silent(name, point):
    found = tangent(ACTIVATION_CURVES[name], point)
    assert math.isfinite(found.value)
    assert 0 <= abs(found.slope) <= ACTIVATION_CURVES[name].bound


def test_misspelt_names_get_a_hint():
    with pytest.raises(ConfigError, match=r"activation 'sigmiod' is not known\. Did you mean 'sigmoid'\?"):
        find_curve("sigmiod")


@pytest.mark.parametrize("point", [math.nan, math.inf, -math.inf])
def test_tangents_need_a_finite_point(point):
    with pytest.raises(ConfigError, match=r"the point of a tangent must be a finite number, got "):
        tangent(find_curve("tanh"), point)
