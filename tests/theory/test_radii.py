"""Figures of several radii: one panel per network, one line or marker per radius, with the measured values."""

import numpy as np
import pytest
from tools.topics import assert_fits, random_small

from rnnstudy.theory.measures.contributions import measure
from rnnstudy.theory.measures.networks import families
from rnnstudy.theory.topics.conditions import explain_conditions
from rnnstudy.theory.topics.contributions import explain_contributions
from rnnstudy.theory.topics.growth import explain_growth, growth_of

RADII = (0.5, 2.0)


@pytest.fixture(scope="module")
def subject():
    return random_small(radii=RADII)


def drawn(topic, name):
    """Return the panels of a figure by title, each with its lines by label."""
    assert_fits(topic)
    (picture,) = [each for each in topic.pictures if each.name == name]
    panels = [axes for axes in picture.draw().axes if axes.lines]
    return {axes.get_title(loc="left"): {line.get_label(): line for line in axes.lines} for axes in panels}


@pytest.mark.parametrize(("name", "value"), [("contributions", "norm"), ("contributions_inputs", "of_input")])
def test_what_is_left_has_a_line_per_radius(subject, name, value):
    panels = drawn(explain_contributions(subject), name)
    assert list(panels) == ["rnn, tanh", "rnn, sigmoid", "rnn, relu", "gru", "lstm, h", "lstm, c"]
    for layer in subject.layers:
        for each in measure(layer):
            expected = getattr(each, value)[:, 0]
            actual = panels[each.family][f"ρ={layer.radius:g}"].get_ydata()
            np.testing.assert_array_equal(actual, np.where(np.isfinite(expected), expected, np.nan))


def test_the_gradient_of_every_example_has_a_line_per_radius(subject):
    panels = drawn(explain_contributions(subject), "contributions_gradient")
    assert {title: list(lines) for title, lines in panels.items()} == {
        name: ["ρ=0.5", "ρ=2"] for name in ("rnn", "gru", "lstm")
    }


def test_the_farthest_eigenvalue_of_every_marker_is_at_its_radius(subject):
    panels = drawn(explain_conditions(subject), "eigenvalues")
    assert len(panels) == 5
    for lines in panels.values():
        for radius in RADII:
            values = lines[f"ρ={radius:g}"]
            size = np.hypot(np.asarray(values.get_xdata()), np.asarray(values.get_ydata()))
            assert size.max() == pytest.approx(radius, rel=1e-9)


def test_exponents_have_a_line_per_radius(subject):
    panels = drawn(explain_growth(subject), "lyapunov_spectra")
    for family in families(subject.layers):
        (lines,) = [each for title, each in panels.items() if title.startswith(family[0].family)]
        for layer in family:
            expected = growth_of(layer).forward
            actual = lines[f"ρ={layer.radius:g}"].get_ydata()
            np.testing.assert_array_equal(actual, np.where(np.isfinite(expected), expected, np.nan))
