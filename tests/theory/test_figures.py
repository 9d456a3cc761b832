import numpy as np
import pytest
from matplotlib.figure import Figure

from rnnstudy.gradients.activation_curves import ACTIVATION_CURVES
from rnnstudy.theory.figures import draw_activation, draw_contributions, draw_slope


@pytest.fixture
def axes():
    return Figure(figsize=(6, 4), layout="constrained").add_subplot()


def lines_of(axes):
    return {line.get_label(): (np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in axes.lines}


def assert_legend_is_above(axes):
    figure = axes.figure
    figure.canvas.draw()
    legend = axes.get_legend().get_window_extent()
    assert legend.y0 >= axes.get_window_extent().y1 - 0.5
    assert legend.x1 <= figure.bbox.x1


@pytest.mark.parametrize("name", ACTIVATION_CURVES)
@pytest.mark.parametrize("point", [-3.0, 0.7, 20.0])
def test_the_tangent_is_drawn_at_the_point(axes, name, point):
    draw_activation(axes, ACTIVATION_CURVES[name], point)
    x, curve = lines_of(axes)["f(x)"]
    _, line = lines_of(axes)["tangent"]
    near = int(np.abs(x - point).argmin())
    assert x[0] <= point <= x[-1]
    # Between grid points the curve and its tangent part by at most f''/2 dx^2, f'' at most 2.
    assert abs(curve[near] - line[near]) <= (x[1] - x[0]) ** 2
    low, high = axes.get_ylim()
    assert low < curve.min() <= curve.max() < high
    assert_legend_is_above(axes)


@pytest.mark.parametrize("name", ACTIVATION_CURVES)
def test_the_slope_at_the_point_is_marked_below_the_bound(axes, name):
    curve = ACTIVATION_CURVES[name]
    draw_slope(axes, curve, -1.5)
    drawn = lines_of(axes)
    _, bound = drawn[rf"bound $\gamma$ = {curve.bound:.4g}"]
    x, slopes = drawn["f'(x)"]
    at, marked = drawn[f"{float(curve.slope(-1.5)):.3g}"]
    assert slopes.max() <= bound[0] * (1 + 1e-12)
    assert at.tolist() == [-1.5]
    assert marked[0] == pytest.approx(np.interp(-1.5, x, slopes), abs=1e-3)
    assert axes.get_ylim()[1] > bound[0]
    assert_legend_is_above(axes)


def test_contributions_stand_at_their_time_steps_and_leave_out_what_is_not_finite(axes):
    draw_contributions(axes, {"measured": np.array([-np.inf, -4.0, -2.0, 0.0])}, {}, first_step=1)
    steps, values = lines_of(axes)["measured"]
    assert steps.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(values, [np.nan, -4, -2, 0])
    assert axes.get_ylim()[0] < -4


@pytest.mark.parametrize("far", [400.0, -400.0])
def test_a_far_bound_does_not_flatten_the_measurement(axes, far):
    measured = np.linspace(-6, 0, 50)
    draw_contributions(axes, {"measured": measured}, {"bound": np.linspace(far, 0, 50)})
    low, high = axes.get_ylim()
    assert low < -6
    assert high > 0
    assert 6 / (high - low) > 1 / 3
    assert_legend_is_above(axes)


def test_ticks_are_whole_powers_of_ten(axes):
    draw_contributions(axes, {"measured": np.linspace(-1.2, 0, 9)}, {})
    axes.figure.canvas.draw()
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert "$10^{0}$" in labels
    assert len(labels) == len(set(labels)) >= 2
