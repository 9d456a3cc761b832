"""Figures of a run's logs."""

import math

import numpy as np

from rnnstudy.runs.digest import vanishing_ratios


def test_a_gradient_that_is_infinite_at_the_last_step_does_not_look_like_one_that_vanished():
    norms = np.array([[1.0, math.inf], [math.inf, math.inf], [1.0, math.nan], [math.inf, 1.0], [0.0, 1.0], [1e-3, 1.0]])
    nan = math.nan
    np.testing.assert_array_equal(vanishing_ratios(norms, 0), [nan, nan, nan, math.inf, -math.inf, -3.0])
