"""The shared drawing of gradient norms over time steps and training."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from rnnstudy.plotting.heatmap import (
    NON_FINITE_COLOR,
    ZERO_COLOR,
    HeatmapImage,
    draw_heatmap,
    extend_of,
    log10_norms,
    shared_range,
    special_handles,
)


def has_color(image: np.ndarray, color: str) -> bool:
    """Whether a block of at least 500 pixels has this colour, up to rounding."""
    wanted = np.round(np.array(to_rgb(color)) * 255)
    return int((np.abs(image.astype(float) - wanted).max(axis=-1) <= 1).sum()) > 500


def test_log10_of_zero_subnormal_nan_and_infinity() -> None:
    np.testing.assert_array_equal(
        log10_norms(np.array([0.0, 1e-300, 1.0, math.nan, math.inf])), [-math.inf, -300.0, 0.0, math.nan, math.inf]
    )


def test_image_shows_zeros_and_non_finite_cells_in_their_own_colours() -> None:
    steps, plain = np.arange(4) * 100, np.full((4, 6), -2.0)
    zeros, infinite, nan = plain.copy(), plain.copy(), plain.copy()
    zeros[1, :3], infinite[2, :3], nan[2, :3] = -math.inf, math.inf, math.nan
    images = [HeatmapImage().render("norms", steps, values) for values in (plain, zeros, infinite, nan)]
    for image in images:
        assert image.shape == (420, 630, 3)
        assert image.dtype == np.uint8
    assert [has_color(image, ZERO_COLOR) for image in images] == [False, True, False, False]
    assert [has_color(image, NON_FINITE_COLOR) for image in images] == [False, False, True, True]


@pytest.mark.parametrize("value", [-math.inf, math.nan, math.inf])
def test_image_of_nothing_finite(value: float) -> None:
    assert HeatmapImage().render("norms", np.array([7]), np.full((1, 1), value)).shape == (420, 630, 3)


def test_cells_lie_on_their_step_and_time() -> None:
    axes = Figure().add_subplot()
    values = np.arange(6.0).reshape(3, 2)
    mesh = draw_heatmap(axes, steps=np.array([0, 10, 100]), values=values, informative_steps=(1,))
    corners = np.asarray(mesh.get_coordinates())
    np.testing.assert_array_equal(corners[0, :, 0], [-0.5, 0.5, 1.5])
    np.testing.assert_array_equal(corners[:, 0, 1], [-5.0, 5.0, 55.0, 145.0])
    np.testing.assert_array_equal(np.asarray(mesh.get_array()), values)
    assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines] == [[1, 1], [1]]


def test_marks_only_where_they_say_something() -> None:
    def marks(informative: tuple[int, ...]) -> list[float]:
        axes = Figure().add_subplot()
        draw_heatmap(axes, steps=np.arange(3), values=np.zeros((3, 6)), informative_steps=informative)
        return [x for line in axes.lines if line.get_marker() == "v" for x in np.asarray(line.get_xdata()).tolist()]

    assert marks(()) == []
    assert marks((2,)) == [2]
    assert marks((0, 1, 2, 3, 4)) == [0, 1, 2, 3, 4]
    assert marks((0, 1, 2, 3, 4, 5)) == []


def test_one_range_for_all_maps() -> None:
    low, high = shared_range([np.linspace(-3, 0, 1001), np.array([math.nan, -math.inf, math.inf])])
    assert (low, high) == pytest.approx((-2.97, -0.03), abs=1e-9)
    assert shared_range([np.array([-300.0, -1.0])])[0] == pytest.approx(
        shared_range([np.array([-300.0, -1.0])])[1] - 40
    )
    assert shared_range([np.full(3, -2.0)]) == (-2.5, -1.5)
    assert shared_range([]) == (-1.0, 0.0)


def test_arrows_and_legend_tell_what_is_beyond_the_scale() -> None:
    values = [np.array([[-5.0, 0.0]])]
    assert [extend_of(values, limits) for limits in ((-5, 0), (-4, 0), (-5, -1), (-4, -1))] == [
        "neither",
        "min",
        "max",
        "both",
    ]
    labels = [handle.get_label() for handle in special_handles([np.array([[-math.inf, math.nan]])])]
    assert labels == ["exactly zero", "NaN or infinite"]
    assert special_handles(values) == []
