"""The cliff's gradients against autograd and the closed form on its wall, and descent with and without clipping."""

import math

import numpy as np
import pytest
import torch

from rnnstudy.core.errors import ConfigError
from rnnstudy.lessons.cliff import cliff, descend, wall

SIGMOID = 1 / (1 + math.exp(-0.5))
POINTS = [(5.5, -2.6), (5.0, -2.0), (4.0, -2.2), (5.0, -2.612296656009273), (-3.0, 1.0), (1441.6, 2305.0)]


def test_error_and_gradient_are_those_of_autograd():
    found = cliff(*np.array(POINTS).T)
    for index, point in enumerate(POINTS):
        w, b, start = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (*point, 0.5))
        x = start
        for _ in range(50):
            x = w * torch.sigmoid(x) + b
        error = (torch.sigmoid(x) - 0.7) ** 2
        expected = [*torch.autograd.grad(error, (w, b), retain_graph=True), *torch.autograd.grad(x, start)]
        assert found.error[index] == pytest.approx(error.item(), rel=1e-9)
        # At the last point torch keeps a slope of 1e-1627 as 0 too.
        actual = [found.of_w[index], found.of_b[index], found.state_gain[index]]
        assert actual == pytest.approx([each.item() for each in expected], rel=1e-9)


def test_on_the_wall_the_state_stays_and_a_change_of_it_grows_as_a_power():
    w = np.array([2.0, 4.255, 5.0, 6.0])
    found = cliff(w, wall(w))
    np.testing.assert_allclose(wall(w), 0.5 - w * SIGMOID, rtol=1e-15)
    np.testing.assert_allclose(found.error, (SIGMOID - 0.7) ** 2, rtol=1e-4)
    np.testing.assert_allclose(found.state_gain, (w * SIGMOID * (1 - SIGMOID)) ** 50, rtol=1e-4)
    # The geometric sums of the same factor: dx_50/db = 1 + J + ... + J^49, and dx_50/dw is sigmoid(1/2) times that.
    factor = w * SIGMOID * (1 - SIGMOID)
    of_state = (factor**50 - 1) / (factor - 1)
    of_error = 2 * (SIGMOID - 0.7) * SIGMOID * (1 - SIGMOID)
    np.testing.assert_allclose(found.norm, abs(of_error) * of_state * math.hypot(SIGMOID, 1), rtol=1e-4)


def test_the_wall_throws_plain_descent_away_and_clipping_keeps_it():
    plain = descend((5.5, -2.6), learning_rate=0.5, num_updates=100)
    clipped = descend((5.5, -2.6), learning_rate=0.5, num_updates=100, max_norm=0.5)
    assert plain.error[-1] == pytest.approx((1 - 0.7) ** 2, rel=1e-12)
    assert np.hypot(*plain.points[-1]) > 1000
    assert np.abs(clipped.points - (4.8, -2.4)).max() < 1
    assert clipped.error[-1] < 0.03 < plain.error[0]
    assert plain.clipped == 0


@pytest.mark.parametrize("max_norm", [math.inf, 0.5])
def test_every_update_is_the_learning_rate_times_the_gradient_or_what_clipping_leaves_of_it(max_norm):
    path = descend((5.5, -2.6), learning_rate=0.5, num_updates=30, max_norm=max_norm)
    assert path.points.shape == (31, 2)
    found = cliff(*path.points.T)
    steps = -np.diff(path.points, axis=0) / 0.5
    gradients = np.stack([found.of_w, found.of_b], axis=1)[:-1]
    np.testing.assert_allclose(path.norm, np.linalg.norm([found.of_w, found.of_b], axis=0), rtol=1e-12)
    np.testing.assert_allclose(path.error, found.error, rtol=1e-12)
    kept = np.minimum(1, max_norm / np.linalg.norm(gradients, axis=1).clip(1e-300))
    np.testing.assert_allclose(steps, gradients * kept[:, None], rtol=1e-9, atol=1e-12)
    assert path.clipped == (kept < 1).sum()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": math.nan}, "learning_rate must be a finite number, at most 1e+30 in size, got nan."),
        ({"num_updates": 0}, "num_updates must be at least 1, got 0."),
        ({"max_norm": 0.0}, "max_norm must be above 0, got 0.0."),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ConfigError) as error:
        descend((5.0, -2.0), **{"learning_rate": 0.5, "num_updates": 1, **settings})
    assert str(error.value) == message
