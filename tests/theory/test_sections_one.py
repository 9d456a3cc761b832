"""Sections 1 to 3 of the theory page against numpy, torch's autograd and figures computed here; float64."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.cells import cell_len
from tools.members import members, run_small
from torch.nn import functional

from rnnstudy.gradients.activation_curves import ACTIVATION_CURVES, gamma_of
from rnnstudy.gradients.jacobians import step_jacobians
from rnnstudy.gradients.norms import sequence_norms
from rnnstudy.gradients.spectra import Conditions
from rnnstudy.gradients.trajectories import in_double, random_trajectory, trace
from rnnstudy.lessons.notebook_curve import notebook_curve
from rnnstudy.recurrence.base import AdjointRecorder
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.indrnn import IndRNNRecurrence
from rnnstudy.recurrence.lru import LRURecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.residual import ResidualRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.recurrence.skip import SkipRecurrence
from rnnstudy.study.run.load import load_run
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
from rnnstudy.theory.measures.subject import Part, Subject, random_subject, run_subject
from rnnstudy.theory.sections import activations, conditions, contributions

TORCH = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": lambda x: x * 1,
    "hardtanh": functional.hardtanh,
    "leaky_relu": functional.leaky_relu,
    "softplus": functional.softplus,
    "elu": functional.elu,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "softsign": functional.softsign,
}


def part_of(cell, *, seq_len=7, hidden_size=4, seed=5, radius=None, name="it"):
    path = random_trajectory(cell, hidden_size=hidden_size, seq_len=seq_len, seed=seed, radius=radius)
    return Part(name=name, trajectory=path, gamma=gamma_of(cell))


def subject_of(*parts):
    return Subject(title="test", parts=parts, examples=(), drive="task")


def given(rows, **settings):
    options = {"hidden_size": 1, "seq_len": 6, "seed": 2} | settings
    return random_subject(**options, matrix=torch.tensor(rows).double())


def trained(folder, *overrides):
    return run_subject(load_run(run_small(folder, *overrides).path), replica=1, seq_len=None, drive="task")


def column(table, name, of):
    place = table.header.index(name)
    return next(row[place] for row in table.rows if row[0] == of)


def assert_fits(section):
    assert section.text
    assert all(section.text)
    for table in section.tables:
        widths = [max(map(cell_len, cells)) for cells in zip(table.header, *table.rows, strict=True)]
        assert sum(widths) + 3 * len(widths) + 1 <= 80, table.title
    for each in section.pictures:
        assert each.png.startswith(b"\x89PNG")
        assert each.alt
        assert each.pixels_wide in {1094, 1584}
    assert len({each.name for each in section.pictures}) == len(section.pictures)


@pytest.mark.parametrize("point", [1.0, -2.5])
def test_the_table_of_activations_has_torchs_slopes_and_bounds(point):
    section = activations.section(random_subject(hidden_size=3, seq_len=2, seed=0), point, draw=False)
    assert_fits(section)
    (table,) = section.tables
    grid = torch.linspace(-40, 40, 80_001).double().requires_grad_()
    x = torch.tensor(point).double().requires_grad_()
    used = {"sigmoid", "tanh", "relu"}
    assert len(table.rows) == len(TORCH)
    for row in table.rows:
        name = row[0].removesuffix(" *")
        assert (row[0] != name) == (name in used)
        (slopes,) = torch.autograd.grad(TORCH[name](grid).sum(), grid)
        (slope,) = torch.autograd.grad(TORCH[name](x), x)
        closed, found = float(row[1].split("= ")[-1]), float(row[2])
        assert closed == pytest.approx(float(slopes.abs().max()), rel=1e-5)
        assert found == pytest.approx(closed, rel=1e-5)
        assert float(row[4]) == pytest.approx(float(slope), rel=5e-3, abs=1e-12)


def test_the_worked_figures_of_the_sigmoid_are_in_the_text():
    section = activations.section(random_subject(hidden_size=2, seq_len=2, seed=0), 0.5, draw=False)
    e = np.exp(-0.5) / (1 + np.exp(-0.5)) ** 2
    assert f"its slope is {e:.3g}, {400 * e:.3g} % of γ" in section.text[1]
    assert f"10^{np.log10(0.25**10):.1f}" in section.text[1]


def test_activations_and_gates_are_told_of_the_parts_that_use_them():
    parts = [
        part_of(cell, name=name)
        for name, cell in {
            "gru": GRURecurrence(),
            "lru": LRURecurrence(),
            "residual": ResidualRecurrence(),
            "mod": RNNRecurrence(nonlinearity="modrelu"),
        }.items()
    ]
    subject = subject_of(*parts)
    assert activations.activations_of(subject) == {
        "sigmoid": ["gru"],
        "tanh": ["gru", "residual"],
        "modrelu": ["mod"],
    }
    text = " ".join(activations.section(subject, 1.0, draw=False).text)
    assert "on the state of lru: it goes" in text
    assert "modReLU is not in the table" in text


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        (RNNRecurrence(), ["W_hh"]),
        (GRURecurrence(), ["W_hh, r", "W_hh, z", "W_hh, n"]),
        (LSTMRecurrence(), ["W_hh, i", "W_hh, f", "W_hh, g", "W_hh, o"]),
        (SkipRecurrence(skip=3), ["W_hh", "W_skip"]),
    ],
)
def test_radius_norm_and_departure_of_every_block_are_numpys(cell, names):
    part = part_of(cell)
    weights = part.trajectory.weights
    stacked = [weights[name][0].numpy() for name in ("weight_hh", "weight_skip") if name in weights]
    blocks = np.concatenate(stacked).reshape(-1, 4, 4)
    found = conditions.operators(part)
    assert [each.name for each in found] == names
    for each, block in zip(found, blocks, strict=True):
        values = np.linalg.eigvals(block)
        frobenius = np.linalg.norm(block)
        assert each.radius == pytest.approx(np.abs(values).max(), rel=1e-10)
        assert each.norm == pytest.approx(np.linalg.svd(block)[1][0], rel=1e-10)
        departure = np.sqrt(frobenius**2 - (np.abs(values) ** 2).sum()) / frobenius
        assert each.non_normality == pytest.approx(departure, rel=1e-8)
        assert np.sort(np.abs(each.eigenvalues)) == pytest.approx(np.sort(np.abs(values)), rel=1e-9)


@pytest.mark.parametrize("cell", [LRURecurrence(), IndRNNRecurrence(nonlinearity="tanh")])
def test_a_diagonal_recurrence_has_the_eigenvalues_of_its_jacobian(cell):
    part = part_of(cell, seq_len=1)
    path = trace(
        cell,
        {
            name: weight * 0 if name in {"weight_ih", "bias"} else weight
            for name, weight in part.trajectory.weights.items()
        },
        part.trajectory.inputs,
    )
    jacobian = step_jacobians(path)[0, 0, 0].numpy()
    (only,) = conditions.operators(part)
    assert only.diagonal
    assert np.sort_complex(only.eigenvalues) == pytest.approx(np.sort_complex(np.linalg.eigvals(jacobian)), abs=1e-12)
    assert only.radius == only.norm == pytest.approx(np.linalg.norm(jacobian, 2), rel=1e-12)


def test_a_residual_cell_is_shown_with_its_jacobian_at_slope_one():
    cell = ResidualRecurrence(variant="leaky", rate=0.25)
    part = part_of(cell, seq_len=1)
    still = {name: weight * (name == "weight_hh") for name, weight in part.trajectory.weights.items()}
    jacobian = step_jacobians(trace(cell, still, part.trajectory.inputs))[0, 0, 0].numpy()
    found = conditions.operators(part)
    assert [each.name for each in found] == ["W_hh", "0.75 I + 0.25 W_hh"]
    assert found[1].norm == pytest.approx(np.linalg.norm(jacobian, 2), rel=1e-12)


@pytest.mark.parametrize(
    ("gamma", "radius", "norm", "proves", "suggests"),
    [
        (1.0, 0.6, 0.9, "must vanish", "vanishes"),
        (1.0, 0.9, 1.5, "nothing", "vanishes"),
        (1.0, 1.2, 1.5, "nothing", "may explode"),
        (0.25, 3.9, 3.99, "must vanish", "vanishes"),
        (0.25, 4.1, 5.0, "nothing", "may explode"),
        (1.0, 1.0, 1.0 + 1e-7, "cannot explode", "neither"),
    ],
)
def test_each_condition_says_what_it_proves(gamma, radius, norm, proves, suggests):
    found = Conditions(gamma=gamma, radius=radius, norm=norm, non_normality=0.0)
    assert conditions.proof(found) == proves
    assert conditions.rule(found) == suggests


def test_a_given_matrix_on_which_the_conditions_part_is_named():
    section = conditions.section(given([[0.9, 5], [0, 0.9]]), draw=False)
    assert_fits(section)
    verdicts = section.tables[1]
    assert column(verdicts, "γσ proves", "rnn, tanh") == "nothing"
    assert column(verdicts, "γρ suggests", "rnn, tanh") == "vanishes"
    assert float(column(verdicts, "γσ", "rnn, sigmoid")) == pytest.approx(
        np.linalg.norm([[0.9, 5], [0, 0.9]], 2) / 4, rel=1e-3
    )
    text = " ".join(section.text)
    assert "part for: rnn, tanh / rnn, sigmoid / rnn, relu." in text
    assert "holds for none of the layers" in text
    calm = " ".join(conditions.section(given([[0.3, 0.1], [0, 0.3]]), draw=False).text)
    assert "must vanish, holds for: rnn, tanh / rnn, sigmoid / rnn, relu." in calm
    assert "part for none" in calm


def test_the_counterexamples_are_true():
    text = " ".join(conditions.section(given([[0.5]]), draw=False).text)
    first = np.array(conditions.NON_NORMAL)
    norms = [np.linalg.norm(np.linalg.matrix_power(first, n), 2) for n in range(200)]
    said = re.search(r"is (\S+) at n = 1, grows to (\S+) at n = (\d+), and is below 1 only from n = (\d+) on", text)
    assert said is not None
    start, top, peak, below = float(said[1]), float(said[2]), int(said[3]), int(said[4])
    assert np.abs(np.linalg.eigvals(first)).max() < 1
    assert start == pytest.approx(norms[1], rel=1e-2)
    assert top == pytest.approx(max(norms), rel=1e-2)
    assert norms[peak] == max(norms) > norms[1] > 1
    assert all(norm >= 1 for norm in norms[:below])
    assert all(norm < 1 for norm in norms[below:])

    second = np.array(conditions.NILPOTENT)
    assert not (second @ second).any()
    # A relu network that stands where unit 1 is on and unit 2 off has these very Jacobians.
    weights = {
        "weight_ih": torch.eye(2).double()[None],
        "weight_hh": torch.from_numpy(second)[None],
        "bias_ih": torch.zeros(1, 2).double(),
        "bias_hh": torch.zeros(1, 2).double(),
    }
    path = trace(RNNRecurrence(nonlinearity="relu"), weights, torch.tensor([1.0, -1.0]).double().expand(9, 1, 1, 2))
    left = measure(Part(name="it", trajectory=path, gamma=1.0))[0].norm[:, 0]
    multiplied = re.search(r"multiplied by (\S+) at every step", text)
    assert multiplied is not None
    growth = float(multiplied[1])
    assert np.diff(left[:8]) == pytest.approx(-np.log10(growth), abs=1e-12)


@pytest.mark.parametrize("nonlinearity", ["tanh", "sigmoid", "relu"])
def test_what_is_left_and_both_bounds_are_plain_numpy_products(nonlinearity):
    part = part_of(RNNRecurrence(nonlinearity=nonlinearity), radius=1.7)
    path = part.trajectory
    w, u = path.weights["weight_hh"][0].numpy(), path.weights["weight_ih"][0].numpy()
    h = path.states[0][:, 0, 0].numpy()
    slope = {"tanh": 1 - h**2, "sigmoid": h * (1 - h), "relu": (h > 0) * 1.0}[nonlinearity]
    gamma, sigma = {"sigmoid": 0.25}.get(nonlinearity, 1.0), np.linalg.norm(w, 2)
    (found,) = measure(part)
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


@pytest.mark.parametrize("radius", [0.2, 1.0, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_no_bound_is_ever_crossed(radius, seed):
    for part in random_subject(hidden_size=5, seq_len=15, seed=seed, radius=radius).parts:
        for found in measure(part):
            known = [closest_to_bound(found), closest_to_steps(found), closest_to_input_bound(found)]
            assert max(each for each in known if each is not None) <= contributions.ROUNDING
            assert found.name in {part.name, "lstm, h", "lstm, c"}


def test_a_crossing_would_be_reported():
    assert contributions.verdict({"b": [-0.5, None], "c": [0.3]}).startswith(
        "A bound is crossed: a norm is up to 10^-0.50"
    )
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
    subject = random_subject(hidden_size=5, seq_len=8, seed=1)
    section = contributions.section(subject, draw=False)
    assert_fits(section)
    states, bounds, inputs, _, notebook = section.tables
    for found in (each for part in subject.parts for each in measure(part)):
        assert column(states, "norm", found.name) == power(found.norm[0, 0])
        assert column(states, "gain", found.name) == power(float(found.found.log10_gain[0, 0, 0]))
        assert column(inputs, "of x_0", found.name) == power(found.of_input[0, 0])
        expected = "–" if found.bound is None else power(found.bound[0])
        assert column(bounds, "(γσ)^lag", found.name) == expected
    assert sum("Never crossed" in paragraph for paragraph in section.text) == 2
    assert "The loss is asked at the last step alone" in " ".join(section.text)
    assert ("below 4", "published", "1.304390e-14", "1.207213e+00") in notebook.rows
    below, above = notebook_curve("below"), notebook_curve("above")
    text = section.text[-1]
    assert f"{below.true_norm[0]:.6e}, {below.true_norm[0] / 1.304390e-14:.3g} times as much" in text
    counts = [int((each.true_norm > each.eigenvalue_rule).sum()) for each in (below, above)]
    assert f"{counts[0]} of 20 steps (eigenvalues below 4) and {counts[1]} of 20 steps" in text


def test_networks_that_are_switched_off_leave_nothing():
    section = contributions.section(given([[0.0, 0.0], [0.0, 0.0]]), draw=False)
    assert_fits(section)
    assert column(section.tables[0], "norm", "rnn, tanh") == "0"
    assert column(section.tables[1], "(γσ)^lag", "rnn, relu") == "0"
    assert "Never crossed" in section.text[1]


@pytest.mark.parametrize("hidden_size", [1, 2])
def test_one_time_step_and_one_unit_are_enough(hidden_size):
    subject = random_subject(hidden_size=hidden_size, seq_len=1, seed=0)
    assert_fits(conditions.section(subject, draw=False))
    section = contributions.section(subject, draw=False)
    assert_fits(section)
    assert column(section.tables[0], "norm", "gru") == "10^0.00"
    assert column(section.tables[1], "closest", "rnn, tanh") == "–"
    assert "With one time step there is nothing to bound." in section.text[1]


def test_states_too_large_are_left_out_and_named():
    part = part_of(SkipRecurrence(skip=300), hidden_size=4, seq_len=2, name="long")
    section = contributions.section(subject_of(part), draw=False)
    assert_fits(section)
    assert "Left out: long, whose state has more than 1024 numbers." in section.text


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_the_measured_gradient_is_that_of_training_and_below_the_product(tmp_path, cell):
    subject = trained(tmp_path / "run", f"model={cell}")
    (example,) = subject.examples
    steps, _, size = example.batch.inputs.shape
    assert example.batch.loss_steps.tolist() == [steps - 1]
    every = [each for part in subject.parts for each in measure(part)]
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


def test_runs_are_shown_with_the_range_over_their_sequences(tmp_path):
    subject = trained(tmp_path / "run", "model=rnn", "model.num_layers=2")
    section = contributions.section(subject, draw=False)
    assert_fits(section)
    states, gradient = section.tables[0], section.tables[3]
    assert [row[0] for row in states.rows] == ["layer 0", "layer 1"]
    assert [row[0] for row in gradient.rows] == ["rnn, layer 0", "rnn, layer 1"]
    (lower, upper) = [measure(part)[0] for part in subject.parts]
    assert column(states, "least", "layer 0") == power(lower.norm[0].min())
    assert column(states, "most", "layer 1") == power(upper.norm[0].max())
    first, second = gradients_of(subject.examples[0], [lower, upper])
    assert not first.at_end
    assert second.at_end
    assert "The loss is asked at the last step alone" in " ".join(section.text)


@pytest.mark.slow
@pytest.mark.parametrize("network", members("model"))
def test_every_model_has_its_sections_driven_and_by_itself(tmp_path, network):
    loaded = load_run(run_small(tmp_path / "run", f"model={network}", "model.num_layers=2").path)
    for drive in ("task", "nothing"):
        subject, draw = run_subject(loaded, replica=2, seq_len=None, drive=drive), drive == "task"
        sections = (
            activations.section(subject, -0.3, draw=draw),
            conditions.section(subject, draw=draw),
            contributions.section(subject, draw=draw),
        )
        for section in sections:
            assert_fits(section)
            assert "crossed: a norm is up to" not in " ".join(section.text)
            assert "cannot be told" not in " ".join(section.text)


def test_every_figure_is_drawn_without_a_warning():
    subject = replace(random_subject(hidden_size=3, seq_len=4, seed=0), parts=(part_of(LSTMRecurrence()),))
    subject = replace(subject, examples=subject.examples[:1])
    names = []
    for section in (activations.section(subject, 1.0), conditions.section(subject), contributions.section(subject)):
        assert_fits(section)
        names += [each.name for each in section.pictures]
    assert names == [
        "activations",
        "activations_all",
        "eigenvalues",
        "non_normal_powers",
        "contributions",
        "contributions_inputs",
        "contributions_gradient",
        "notebook_curve",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "subject",
    [
        random_subject(hidden_size=1, seq_len=1, seed=0),
        random_subject(hidden_size=2, seq_len=2, seed=0),
        given([[0.0, 0.0], [0.0, 0.0]]),
        given([[3.0, 1.0], [-1.0, 3.0]], seq_len=40),
        subject_of(part_of(SkipRecurrence(skip=300), hidden_size=4, seq_len=2)),
        subject_of(*(part_of(RNNRecurrence(), name=f"layer {index}") for index in range(12))),
    ],
    ids=["one unit", "two units", "zero", "exploding", "too large", "many layers"],
)
def test_figures_of_odd_subjects_are_drawn_without_a_warning(subject):
    for section in (activations.section(subject, 30.0), conditions.section(subject), contributions.section(subject)):
        assert_fits(section)


@pytest.mark.slow
@pytest.mark.parametrize("radius", [0.3, 30.0])
def test_long_sequences_beyond_the_range_of_float64_are_shown(radius):
    subject = random_subject(hidden_size=6, seq_len=300, seed=3, radius=radius)
    section = contributions.section(subject)
    assert_fits(section)
    assert "A bound is crossed" not in " ".join(section.text)
    far = column(section.tables[0], "norm", "rnn, relu")
    assert far == "0" or abs(float(far.removeprefix("10^"))) > 100


def test_all_activations_have_a_twin_here():
    assert set(TORCH) == set(ACTIVATION_CURVES)
