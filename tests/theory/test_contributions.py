"""Remainders of early steps: Jacobian products and bounds against NumPy and training; float64."""

import numpy as np
import pytest
from tools.topics import assert_fits, cell, given, layer_of, path_of, random_small, subject_of, table

from rnnstudy.gradients.norms import sequence_norms
from rnnstudy.gradients.trajectories import in_double
from rnnstudy.lessons.notebook_curve import notebook_curve
from rnnstudy.recurrence.base import AdjointRecorder
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.recurrence.skip import SkipRecurrence
from rnnstudy.theory.measures.contributions import (
    closest_to_bound,
    closest_to_input_bound,
    closest_to_steps,
    excess,
    gradients_of,
    measure,
    middle,
    power,
)
from rnnstudy.theory.topics import contributions
from rnnstudy.theory.topics.conditions import explain_conditions
from rnnstudy.theory.topics.contributions import explain_contributions


@pytest.mark.parametrize("nonlinearity", ["tanh", "sigmoid", "relu"])
def test_what_is_left_and_both_bounds_are_plain_numpy_products(nonlinearity):
    path = path_of(RNNRecurrence(nonlinearity=nonlinearity), radius=1.7)
    w, u = path.weights["weight_hh"][0].numpy(), path.weights["weight_ih"][0].numpy()
    h = path.states[0][:, 0, 0].numpy()
    slope = {"tanh": 1 - h**2, "sigmoid": h * (1 - h), "relu": (h > 0) * 1.0}[nonlinearity]
    gamma, sigma = {"sigmoid": 0.25}.get(nonlinearity, 1.0), np.linalg.norm(w, 2)
    (found,) = measure(layer_of(path))
    assert found.bound is not None
    assert found.input_bound is not None
    product, steps, ratios = np.eye(4), 1.0, []
    for k in range(6, -1, -1):
        norm, bound = np.linalg.norm(product, 2), (gamma * sigma) ** (6 - k)
        of_input = product @ np.diag(slope[k]) @ u
        assert found.norm[k, 0] == pytest.approx(np.log10(norm), abs=1e-10)
        assert found.steps[k, 0] == pytest.approx(np.log10(steps), abs=1e-10)
        assert found.bound[k] == pytest.approx(np.log10(bound), abs=1e-10)
        assert found.of_input[k, 0] == pytest.approx(np.log10(np.linalg.norm(of_input, 2)), abs=1e-10)
        assert found.input_bound[k] == pytest.approx(np.log10(bound * gamma * np.linalg.norm(u, 2)), abs=1e-10)
        ratios.append((norm / bound, norm / steps, np.linalg.norm(of_input, 2) / 10 ** found.input_bound[k]))
        product, steps = product @ np.diag(slope[k]) @ w, steps * np.linalg.norm(np.diag(slope[k]) @ w, 2)
    assert closest_to_bound(found) == pytest.approx(np.log10(max(each[0] for each in ratios[1:])), abs=1e-10)
    assert closest_to_steps(found) == pytest.approx(np.log10(max(each[1] for each in ratios[1:])), abs=1e-10)
    assert closest_to_input_bound(found) == pytest.approx(np.log10(max(each[2] for each in ratios)), abs=1e-10)


@pytest.mark.parametrize(("radius", "seed"), [(0.2, 0), (1.0, 1), (4.0, 2)])
def test_no_bound_is_ever_crossed(radius, seed):
    for layer in random_small(hidden_size=5, seq_len=15, seed=seed, radii=(radius,)).layers:
        for found in measure(layer):
            known = [closest_to_bound(found), closest_to_steps(found), closest_to_input_bound(found)]
            assert max(each for each in known if each is not None) <= contributions.ROUNDING
            assert found.name in {layer.name, "lstm, h", "lstm, c"}


def test_a_crossing_would_be_reported():
    crossed = contributions.verdict({"b": [-0.5, None], "c": [0.3]})
    assert crossed.startswith("A bound is crossed: a norm is up to 10^-0.50")
    assert "10^-0.50 times b" in contributions.verdict({"b": [-0.5, -0.7, None], "c": []})
    assert contributions.verdict({"b": [-0.5]}).startswith("Never crossed")
    assert "cannot be told" in contributions.verdict({"b": [-0.5, np.nan]})
    assert "nothing to bound" in contributions.verdict({"b": [None]})


def test_nothing_left_is_below_every_bound():
    nothing, inf = np.array([[-np.inf], [-np.inf], [1.0], [np.nan]]), np.array([[-np.inf], [2.0], [0.5], [0.0]])
    np.testing.assert_array_equal(excess(nothing, inf), [[-np.inf], [-np.inf], [0.5], [np.nan]])
    np.testing.assert_array_equal(middle(np.array([[-np.inf, 3.0, 2.0], [0.0, -np.inf, -np.inf]])), [2.0, -np.inf])
    np.testing.assert_array_equal(middle(np.array([[4.0, 3.0, 1.0, 2.0]])), [2.0])


def test_powers_of_ten_are_written_as_they_are():
    written = [power(each) for each in (-3.217, -0.001, 5000.0, -np.inf, np.inf, np.nan)]
    assert written == ["10^-3.22", "10^0.00", "10^5000.00", "0", "infinite", "not finite"]


def test_the_section_on_what_is_left_has_the_measured_figures():
    subject = random_small(hidden_size=5, seq_len=8, seed=1)
    topic = explain_contributions(subject)
    assert_fits(topic)
    for found in (each for layer in subject.layers for each in measure(layer)):
        assert cell(topic, "Left of step 0", found.name, "norm") == power(found.norm[0, 0])
        assert cell(topic, "Left of step 0", found.name, "gain") == power(float(found.found.log10_gain[0, 0, 0]))
        assert cell(topic, "The same for inputs", found.name, "of x_0") == power(found.of_input[0, 0])
        expected = "–" if found.bound is None else power(found.bound[0])
        assert cell(topic, "The norm and its bounds", found.name, "(γσ)^lag") == expected
    assert sum("Never crossed" in paragraph for paragraph in topic.text) == 2
    assert "The loss is asked at the last step alone" in " ".join(topic.text)
    assert ("below 4", "published", "1.304390e-14", "1.207213e+00") in topic.tables[-1].rows
    below, above = notebook_curve("below"), notebook_curve("above")
    text = topic.text[-1]
    assert f"{below.true_norm[0]:.6e}, {below.true_norm[0] / 1.304390e-14:.3g} times as much" in text
    counts = [int((each.true_norm > each.eigenvalue_rule).sum()) for each in (below, above)]
    assert f"{counts[0]} of 20 steps (eigenvalues below 4) and {counts[1]} of 20 steps" in text


def test_networks_that_are_switched_off_leave_nothing():
    topic = explain_contributions(given([[0.0, 0.0], [0.0, 0.0]]))
    assert_fits(topic)
    assert cell(topic, "Left of step 0", "rnn, tanh", "norm") == "0"
    assert cell(topic, "The norm and its bounds", "rnn, relu", "(γσ)^lag") == "0"
    assert "Never crossed" in topic.text[1]


@pytest.mark.parametrize("hidden_size", [1, 2])
def test_one_time_step_and_one_unit_are_enough(hidden_size):
    subject = random_small(hidden_size=hidden_size, seq_len=1, seed=0)
    assert_fits(explain_conditions(subject))
    topic = explain_contributions(subject)
    assert_fits(topic)
    assert cell(topic, "Left of step 0", "gru", "norm") == "10^0.00"
    assert cell(topic, "The norm and its bounds", "rnn, tanh", "closest") == "–"
    assert "With one time step there is nothing to bound." in topic.text[1]


def test_states_too_large_are_left_out_and_named():
    long = layer_of(path_of(SkipRecurrence(skip=300), seq_len=2), "long")
    topic = explain_contributions(subject_of(long))
    assert_fits(topic)
    assert "Left out: long, whose state has more than 1024 numbers." in topic.text


@pytest.mark.parametrize("model", ["rnn", "lstm"])
def test_the_measured_gradient_is_that_of_training_and_below_the_product(trained, model):
    subject = trained(model, "review")
    (example,) = subject.examples
    steps, _, size = example.batch.inputs.shape
    assert example.batch.loss_steps.tolist() == [steps - 1]
    every = [each for layer in subject.layers for each in measure(layer)]
    (found,) = gradients_of(example, every)
    assert found.at_end
    np.testing.assert_array_equal(found.norm, every[0].norm)

    network, recorder = in_double(example.network).requires_grad_(), AdjointRecorder()
    outputs = network(example.batch.inputs, example.batch.loss_steps, recorders=[recorder]).outputs
    example.task.loss(outputs, example.batch).sum().backward()
    norms = sequence_norms(recorder.adjoints["h"].total)[:, 1].numpy()
    assert norms.shape == (steps, size)
    assert found.gradient == pytest.approx(np.log10(norms / norms[-1]), abs=1e-8)
    assert (excess(found.gradient, found.norm) <= contributions.ROUNDING).all()


def test_runs_are_shown_with_the_range_over_their_sequences(trained):
    subject = trained("rnn", "review", "model.num_layers=2")
    topic = explain_contributions(subject)
    assert_fits(topic)
    states, gradient = table(topic, "Left of step 0"), table(topic, "Against the measured")
    assert [row["network"] for row in states] == ["layer 0", "layer 1"]
    assert [row["network"] for row in gradient] == ["rnn, layer 0", "rnn, layer 1"]
    lower, upper = (measure(layer)[0] for layer in subject.layers)
    assert states[0]["least"] == power(lower.norm[0].min())
    assert states[1]["most"] == power(upper.norm[0].max())
    first, second = gradients_of(subject.examples[0], [lower, upper])
    assert not first.at_end
    assert second.at_end
    assert "The loss is asked at the last step alone" in " ".join(topic.text)


@pytest.mark.slow
@pytest.mark.parametrize("radius", [0.3, 30.0])
def test_long_sequences_beyond_the_range_of_float64_are_shown(radius):
    subject = random_small(hidden_size=6, seq_len=300, seed=3, radii=(radius,))
    topic = explain_contributions(subject)
    assert_fits(topic)
    assert "A bound is crossed" not in " ".join(topic.text)
    far = cell(topic, "Left of step 0", "rnn, relu", "norm")
    assert far == "0" or abs(float(far.removeprefix("10^"))) > 100
