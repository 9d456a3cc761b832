"""Powers of one number and of one matrix, against published digits, a closed form and autograd."""

import math

import numpy as np
import pytest
import torch

from rnnstudy.core.errors import ConfigError
from rnnstudy.lessons.powers import gradients_back, lesson_matrix, matrix_powers, scalar_powers


def test_the_lessons_third_power_has_the_published_digits():
    assert np.round(matrix_powers(lesson_matrix(), 3)[3], 5).tolist() == [[0.1295, 0.00753], [0.2259, 0.1295]]


def test_matrix_powers_follow_the_closed_form_of_their_eigenvalues():
    # [[a, b], [c, a]] has the eigenvalues a +- sqrt(bc) and the eigenvectors (sqrt(b), +-sqrt(c)).
    mixing = math.sqrt(0.01 * 0.3)
    for n, power in enumerate(matrix_powers(lesson_matrix(), 40)):
        high, low = (0.5 + mixing) ** n, (0.5 - mixing) ** n
        even, odd = (high + low) / 2, (high - low) / 2
        expected = [[even, math.sqrt(0.01 / 0.3) * odd], [math.sqrt(0.3 / 0.01) * odd, even]]
        np.testing.assert_allclose(power, expected, rtol=1e-12, atol=0)


def test_ten_steps_of_a_half_and_of_two_are_the_published_numbers():
    assert scalar_powers(2.0, 10).tolist() == [2**n for n in range(11)]
    assert scalar_powers(0.5, 10)[-1] == 1 / 1024


def test_powers_beyond_float64_are_zero_and_infinite_without_a_warning():
    assert scalar_powers(0.5, 1075)[-1] == 0
    assert scalar_powers(2.0, 1024)[-1] == math.inf
    assert scalar_powers(2.0, 1024)[-2] == 2.0**1023
    assert np.isinf(matrix_powers(2 * np.eye(1), 1024)[-1]).all()


def test_a_gradient_four_steps_on_agrees_with_autograd_at_every_state():
    w = torch.from_numpy(lesson_matrix())
    inputs = torch.tensor([[1.0, -2.0], [0.5, 0.3], [-0.7, 2.0], [0.2, 0.1]], dtype=torch.float64)
    states = [inputs[0].requires_grad_()]
    for x in inputs[1:]:
        states.append(w @ states[-1] + x)
    loss = (states[-1] ** 3).sum()
    expected = torch.stack(torch.autograd.grad(loss, states[::-1])).numpy()

    gradients = gradients_back(expected[0], lesson_matrix(), 3)
    np.testing.assert_allclose(gradients, expected, rtol=1e-14)
    np.testing.assert_allclose(gradients[3], expected[0] @ matrix_powers(lesson_matrix(), 3)[3], rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scalar_powers(math.nan, 3), "factor must be a finite number, at most 1e+30 in size, got nan."),
        (lambda: scalar_powers(2.0, -1), "num_steps must be at least 0, got -1."),
        (lambda: matrix_powers(lesson_matrix(), -1), "num_steps must be at least 0, got -1."),
        (lambda: gradients_back(np.ones(2), lesson_matrix(), -2), "num_steps must be at least 0, got -2."),
    ],
)
def test_bad_settings_are_named(call, message):
    with pytest.raises(ConfigError) as error:
        call()
    assert str(error.value) == message
