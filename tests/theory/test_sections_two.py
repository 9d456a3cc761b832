"""Powers, sum over time and growth: the printed numbers against NumPy, plain autograd and closed forms; float64."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.plain_gradients import plain_jacobians, qr_growth, run_plain
from tools.members import members, run_small

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.activation_curves import gamma_of
from rnnstudy.gradients.trajectories import RANDOM_INPUTS, random_trajectory, trace
from rnnstudy.lessons.worked_bptt import lesson_network
from rnnstudy.models.base import RECURRENT
from rnnstudy.recurrence.indrnn import IndRNNRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence
from rnnstudy.study.run.load import load_run
from rnnstudy.theory.measures import terms
from rnnstudy.theory.measures.subject import Part, Subject, random_subject, run_subject
from rnnstudy.theory.sections import growth, powers, sum_over_time, worked_tables

COMMON = ("rnn", "gru", "lstm", "skip_rnn", "indrnn", "lru")
SHORT = {"end": ("task=adding", "task.seq_len=7"), "every": ("task=copy_memory", "task.delay=3", "task.num_symbols=2")}


@pytest.fixture(scope="module")
def subject_of(tmp_path_factory):
    """Subjects of small runs by model, task and further settings; every run is trained once."""
    found = {}

    def of(model, task="every", *more, replica=1):
        key = (model, task, *more)
        if key not in found:
            folder = tmp_path_factory.mktemp("runs") / "run"
            settings = (f"model={model}", "model.num_layers=2", "train.num_steps=3", *SHORT[task], *more)
            found[key] = load_run(run_small(folder, *settings).path)
        return run_subject(found[key], replica=replica, seq_len=None, drive="task")

    return of


def random_small(**settings):
    return random_subject(**{"hidden_size": 4, "seq_len": 6, "seed": 1, **settings})


def table(section, start):
    """The table whose title starts so, as a list of dictionaries."""
    (found,) = [each for each in section.tables if each.title.startswith(start)]
    assert all(len(row) == len(found.header) for row in found.rows)
    return [dict(zip(found.header, row, strict=True)) for row in found.rows]


def part(trajectory):
    return Part(name="layer", trajectory=trajectory, gamma=gamma_of(trajectory.cell))


def subject(trajectory):
    return Subject(title="a layer", parts=(part(trajectory),), examples=(), drive="task")


def path_of(cell, hidden_size=4, seq_len=8, seed=0, **weights):
    """A random path; given weights replace random ones."""
    drawn = random_trajectory(cell, hidden_size=hidden_size, seq_len=seq_len, seed=seed)
    return trace(cell, {**drawn.weights, **weights}, drawn.inputs)


def test_powers_are_those_that_numpy_makes_and_the_lesson_prints():
    section = powers.section()
    matrix = np.array([[0.5, 0.01], [0.3, 0.5]])
    rows = {int(row["n"]): row for row in table(section, "Powers of the lesson's W")}
    assert [rows[3][f"row {i}, col {j}"] for i in (1, 2) for j in (1, 2)] == ["0.1295", "0.00753", "0.2259", "0.1295"]
    for n, row in rows.items():
        expected = np.linalg.matrix_power(matrix, n)
        found = [float(row[f"row {i}, col {j}"]) for i in (1, 2) for j in (1, 2)]
        np.testing.assert_allclose(found, expected.ravel(), rtol=1e-5)
        assert float(row["norm"]) == pytest.approx(np.linalg.svd(expected)[1][0], rel=1e-3)
    last = table(section, "Powers of one factor")[-1]
    assert (last["n"], float(last["0.5^n"]), last["2^n"]) == ("10", 0.5**10, "1024")


def test_the_worked_row_vector_is_the_one_that_autograd_carries_back():
    w = torch.tensor([[0.5, 0.01], [0.3, 0.5]], dtype=torch.float64)
    states = [torch.tensor([0.2, -0.1], dtype=torch.float64).requires_grad_()]
    for _ in range(3):
        states.append(w @ states[-1])
    expected = torch.autograd.grad(states[-1].sum(), states[::-1])
    rows = table(powers.section(), "A gradient at step 4")
    assert [row["gradient"] for row in rows] == ["dJ_4/dh_4", "dJ_4/dh_3", "dJ_4/dh_2", "dJ_4/dh_1"]
    for row, gradient in zip(rows, expected, strict=True):
        assert [float(row["unit 1"]), float(row["unit 2"])] == pytest.approx(gradient.tolist(), rel=1e-5)


def plain_terms(example, loss_steps):
    """Norms and shares of the terms of every layer from autograd on a copy of the weights per step, one replica."""
    run = run_plain(example.network, example.task, example.batch)
    found = {}
    for index, layer, gradients in run.terms():
        names = [name for name in gradients if name in RECURRENT] or list(gradients)
        rows = torch.cat([gradients[name][:, example.replica].flatten(1) for name in names], 1)
        found.setdefault(layer, {})[int(example.batch.loss_steps[index])] = rows
    for layer, by_step in found.items():
        total = torch.stack([rows.sum(0) for rows in by_step.values()]).sum(0)
        share = torch.zeros(len(example.batch.inputs), dtype=torch.float64)
        for step, rows in by_step.items():
            for source in range(step + 1):
                share[step - source] += rows[source] @ total / (total @ total)
        norms = torch.stack([by_step[step].norm(dim=1) for step in loss_steps], 1)
        yield layer, norms.numpy(), share.numpy()


@pytest.mark.parametrize("task", SHORT)
@pytest.mark.parametrize("model", COMMON)
def test_norms_and_shares_of_terms_are_those_of_plain_autograd(subject_of, model, task):
    (example,) = subject_of(model, task).examples
    splits = terms.split(example)
    assert len(splits) == 2
    for layer, norms, share in plain_terms(example, splits[0].loss_steps):
        found = splits[layer]
        later = np.arange(len(norms))[:, None] > np.array(found.loss_steps)
        assert np.isnan(found.log10_norm[later]).all()
        # What autograd says of sources before the loss is left; norms far below the largest are rounding there.
        np.testing.assert_allclose(10.0 ** found.log10_norm[~later], norms[~later], rtol=1e-9, atol=1e-15 * norms.max())
        np.testing.assert_allclose(found.share, share, rtol=0, atol=1e-9)
        assert found.share.sum() == pytest.approx(1, abs=1e-12)
        assert found.error < 1e-12
        assert found.terms == (~later).sum()


def test_the_table_of_shares_groups_the_lags_and_adds_to_one(subject_of):
    subject = subject_of("gru")
    section = sum_over_time.section(subject)
    rows = {row["lag"]: row for row in table(section, "Share of the gradient")}
    for found in terms.split(subject.examples[0]):
        assert rows["3 to 4"][found.name] == f"{found.share[3] + found.share[4]:.4f}"
        assert rows["sum"][found.name] == "1.0000"
        lag = (np.abs(found.share) * np.arange(len(found.share))).sum() / np.abs(found.share).sum()
        assert float(rows["mean lag"][found.name]) == pytest.approx(lag, abs=0.006)


@pytest.mark.parametrize("model", members("model"))
def test_one_replica_taken_out_has_the_gradient_it_has_among_the_others(model):
    (example,) = [each for each in terms.small_examples() if each.name == model]
    settings, task = example.network.model, example.task
    three = settings.build(
        terms.interface_of(task), [torch.Generator().manual_seed(seed) for seed in range(3)], torch.float64
    )
    batch = terms.draw(task, 2, [torch.Generator().manual_seed(seed) for seed in range(3)], torch.device("cpu"))
    alone = replace(example, network=three, batch=batch, replica=2)
    whole = terms.backward_gradients(three, task, batch)[0]
    own = terms.backward_gradients(terms.one_replica(three, 2), task, terms.of_replica(batch, 2))[0]
    for name, gradient in whole.items():
        torch.testing.assert_close(own[name][0], gradient[2], rtol=1e-10, atol=1e-14)
    assert terms.split(alone)[0].error < 1e-11
    assert three.replicas == 3


def test_every_model_is_checked_and_its_terms_add_up_to_the_gradient():
    rows = {row["network"]: row for row in table(sum_over_time.section(random_small()), "The same for every model")}
    assert {name for name in rows if "layer_norm" not in name} == set(members("model"))
    assert {"rnn, layer_norm", "gru, layer_norm", "lstm, layer_norm"} <= rows.keys()
    assert all(float(row["relative error"]) < 1e-12 for row in rows.values())


def test_a_term_that_is_missing_shows_in_the_error(monkeypatch):
    example = random_small().examples[0]
    right = terms.weight_terms
    monkeypatch.setattr(terms, "weight_terms", lambda *given: list(right(*given))[1:])
    missing = next(iter(right(terms.one_replica(example.network, 0), example.task, example.batch)))
    assert missing.gradients["weight_ih"].any()
    assert terms.split(example)[0].error > 1e-3


def test_too_many_terms_leave_some_loss_steps_whose_own_gradient_they_sum_to(monkeypatch, subject_of):
    (example,) = subject_of("lstm").examples
    every = terms.split(example)
    monkeypatch.setattr(terms, "BUDGET", 20_000)
    some = terms.split(example)
    assert 2 <= len(some[0].loss_steps) < len(every[0].loss_steps)
    assert some[0].loss_steps[-1] == every[0].loss_steps[-1]
    assert all(each.error < 1e-12 and each.share.sum() == pytest.approx(1, abs=1e-12) for each in some)
    assert any(
        f"{len(some[0].loss_steps)} loss steps between" in line
        for line in sum_over_time.section(subject_of("lstm")).text
    )


def test_gradients_below_the_square_root_of_float64_keep_their_norms_and_shares():
    example = random_small().examples[0]
    usual = terms.split(example)[0]
    tiny = replace(example, network=example.network.double())
    with torch.no_grad():
        tiny.network.readout_weight.mul_(1e-200)
    found = terms.split(tiny)[0]
    finite = np.isfinite(found.log10_norm)
    assert (finite == np.isfinite(usual.log10_norm)).all()
    assert found.log10_norm[finite].max() < -190
    assert found.share.sum() == pytest.approx(1, abs=1e-12)


def test_a_gradient_of_zero_has_no_shares_and_is_said_so():
    subject = random_small()
    example = subject.examples[0]
    with torch.no_grad():
        example.network.readout_weight.zero_()
    section = sum_over_time.section(replace(subject, examples=(example,)))
    assert "rnn: its gradient is zero or not finite, so there are no shares." in section.text
    assert {row["rnn"] for row in table(section, "Share")} == {"-"}
    assert [row["relative error"] for row in table(section, "The sum of the terms")] == ["0.0e+00"]


def test_weights_that_are_not_finite_are_said_so():
    subject = random_small()
    example = subject.examples[0]
    with torch.no_grad():
        example.network.recurrent_layers[0].get_parameter("weight_hh").fill_(math.nan)
    section = sum_over_time.section(replace(subject, examples=(example,)))
    assert [row["relative error"] for row in table(section, "The sum of the terms")] == ["not finite"]
    assert any("Largest relative error: not finite." in line for line in section.text)


def test_the_worked_tables_hold_what_torch_computes():
    network, section = lesson_network(), sum_over_time.section(replace(random_small(), examples=()))
    u, v, w = (torch.tensor(weight, requires_grad=True) for weight in (network.U, network.V, network.W))
    state, losses = torch.zeros(2, dtype=torch.float64), []
    rows = table(section, "The worked network, forward")
    for row, symbol, target in zip(rows, worked_tables.INPUTS, worked_tables.TARGETS, strict=True):
        state = torch.tanh(u[:, symbol] + w @ state)
        losses.append(torch.nn.functional.cross_entropy((v @ state)[None], torch.tensor([target])))
        expected = (*state.tolist(), math.exp(-losses[-1].item()), losses[-1].item())
        found = [float(row[name]) for name in ("s_t, unit 1", "s_t, unit 2", "o_t(y_t)", "E_t")]
        assert found == pytest.approx(expected, abs=6e-7)
    (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), w)
    entries = table(section, "The gradient of W")
    for column in ("all terms", "autograd", "clip ±5"):
        assert [float(row[column]) for row in entries[:4]] == pytest.approx(gradient.flatten().tolist(), abs=6e-9)
    cut = network.terms(worked_tables.INPUTS, worked_tables.TARGETS)
    far = np.subtract.outer(range(8), range(8)) > 3
    cut[far] = 0
    assert [float(row["truncate 3"]) for row in entries[:4]] == pytest.approx(cut.sum((0, 1)).ravel(), abs=6e-9)
    assert abs(float(entries[4]["all terms"])) > 5
    assert abs(float(entries[4]["clip ±5"])) == 5


def test_the_worked_terms_of_the_last_loss_agree_with_autograd_to_rounding():
    rows = table(sum_over_time.section(replace(random_small(), examples=())), "The terms of dE_t/dW")
    assert [row["lag"] for row in rows] == [str(lag) for lag in range(8)]
    terms = worked_tables.autograd_terms(lesson_network(), worked_tables.INPUTS, worked_tables.TARGETS)[7]
    for row in rows:
        found = [float(row[name]) for name in ("W11", "W12", "W21", "W22")]
        assert found == pytest.approx(terms[7 - int(row["lag"])].ravel(), rel=0.06)
        assert float(row["diff"]) < 1e-15


@pytest.mark.parametrize("model", COMMON)
def test_growth_is_that_of_numpy_on_plain_jacobians(subject_of, model):
    settings = ("model.nonlinearity=tanh",) if model == "indrnn" else ()
    for layer in subject_of(model, "end", *settings).parts:
        found = growth.growth_of(layer)
        factors = plain_jacobians(layer.trajectory)[0][:, 0].numpy()
        assert found.lost == 0
        spectra, norms, dets = [], [], []
        for own in factors.swapaxes(0, 1):
            spectra.append(np.sort(qr_growth(own).mean(0))[::-1])
            product = np.linalg.multi_dot([np.eye(len(own[0])), *own[::-1]])
            norms.append(math.log(np.linalg.norm(product, 2)) / len(own))
            dets.append(np.linalg.slogdet(own)[1].mean())
        np.testing.assert_allclose(found.forward, np.mean(spectra, 0), rtol=0, atol=1e-8)
        assert found.norm == pytest.approx(np.mean(norms), abs=1e-9)
        assert found.log_det == pytest.approx(np.mean(dets), abs=1e-8)
        assert found.backward.sum() == pytest.approx(np.mean(dets), abs=1e-8)
        assert found.forward[0] <= found.norm + 1e-9 or found.num_steps == 1
        assert found.sequences == 4


def test_units_that_are_off_lose_their_direction_and_the_others_keep_their_rates():
    # Every unit by itself: h = relu(u h + b), so J = diag(u) where it is on. The third is always off.
    path = path_of(
        IndRNNRecurrence(nonlinearity="relu"),
        weight_ih=torch.zeros(1, 4, RANDOM_INPUTS).double(),
        recurrent=torch.tensor([[0.5, 0.9, 0.7, 0.3]], dtype=torch.float64),
        bias=torch.tensor([[1.0, 1.0, -1.0, 1.0]], dtype=torch.float64),
    )
    found = growth.growth_of(part(path))
    expected = [math.log(0.9), math.log(0.5), math.log(0.3)]
    assert found.lost == 1
    for values in (found.forward, found.backward):
        assert values[-1] == -math.inf
        assert values[:3] == pytest.approx(expected, abs=1e-12)
    assert found.norm == pytest.approx(math.log(0.9), abs=1e-12)
    section = growth.section(subject(path))
    (row,) = table(section, "All exponents")
    assert (row["sum forward"], row["sum backward"], row["mean ln|det J|"]) == ("-inf", "-inf", "-inf")
    assert any("layer (1 of 4)" in line for line in section.text)


def test_exponents_of_a_relu_network_are_not_made_of_rounding():
    path = path_of(RNNRecurrence(nonlinearity="relu"), hidden_size=12, seq_len=30, seed=3)
    found = growth.growth_of(part(path))
    factors = plain_jacobians(path)[0][:, 0, 0].numpy()
    assert found.lost == max(int((~factor.any(1)).sum()) for factor in factors) > 0
    left = 12 - found.lost
    for values in (found.forward, found.backward):
        assert np.isneginf(values[left:]).all()
        assert values[:left].min() > -8, "rounding counts as growth"
    for values, own in ((found.forward, factors), (found.backward, factors[::-1].transpose(0, 2, 1))):
        expected = np.sort(rates_of(own))[::-1]
        assert values[:left] == pytest.approx(expected[:left], abs=1e-8)


def rates_of(factors):
    """Mean logarithms of what factors do to the axes, by Gram-Schmidt; a vector that is lost stays zero."""
    frame, growth = np.eye(factors.shape[1]), np.zeros(factors.shape[1])
    for factor in factors:
        frame = factor @ frame
        size = np.linalg.norm(frame)
        for j in range(frame.shape[1]):
            for _ in range(2):
                frame[:, j] -= frame[:, :j] @ (frame[:, :j].T @ frame[:, j])
            length = np.linalg.norm(frame[:, j])
            gone = length < 1e-14 * size
            growth[j] += -np.inf if gone else math.log(length)
            frame[:, j] = 0 if gone else frame[:, j] / length
    return growth / len(factors)


def test_at_a_fixed_point_exponents_are_logarithms_of_eigenvalues():
    for size in (1, 2, 8):
        fixed = growth.fixed_point_check(size)
        assert fixed.shape == (size, 3)
        np.testing.assert_allclose(fixed[:, 1:], fixed[:, [0, 0]], rtol=0, atol=1e-8)
    rows = table(growth.section(random_small(hidden_size=8)), "At a fixed point")
    assert len(rows) == 8
    # The same network by numpy: iterate, then the eigenvalues of the Jacobian as it is written.
    drawn = random_trajectory(RNNRecurrence(nonlinearity="tanh"), hidden_size=8, seq_len=1, seed=0)
    weights = {name: weight[0].numpy() for name, weight in drawn.weights.items()}
    matrix = weights["weight_hh"] + weights["weight_hh"].T
    matrix *= 0.9 / np.abs(np.linalg.eigvals(matrix)).max()
    h = np.zeros(8)
    for _ in range(3000):
        h = np.tanh(matrix @ h + weights["bias_ih"] + weights["bias_hh"])
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(np.diag(1 - h**2) @ matrix))))[::-1]
    for name in ("ln|eig J|", "forward", "backward"):
        assert [float(row[name]) for row in rows] == pytest.approx(expected, abs=1e-8)


def test_the_largest_exponents_in_the_table_are_powers_of_ten_too():
    subject = random_small()
    section = growth.section(subject)
    for row, each in zip(table(section, "The largest exponent"), subject.parts, strict=True):
        found = growth.growth_of(each)
        assert float(row["forward"]) == pytest.approx(found.forward[0], abs=6e-5)
        if not math.isfinite(found.forward[0]):
            assert row["as a factor"] == "0"
            continue
        base, power = row["as a factor"].split("^")
        assert base == "10"
        assert float(power) == pytest.approx(found.forward[0] / math.log(10), abs=6e-4)


def test_long_sequences_of_large_states_are_looked_at_in_fewer_sequences(monkeypatch, subject_of):
    (layer, _) = subject_of("lstm", "end").parts
    steps, size = layer.trajectory.num_steps, layer.trajectory.state_size
    monkeypatch.setattr(growth, "BUDGET", 2 * steps * size**3)
    assert growth.growth_of(layer).sequences == 2
    monkeypatch.setattr(growth, "BUDGET", 1)
    assert growth.growth_of(layer).sequences == 1


def sections(subject):
    return [sum_over_time.section(subject), growth.section(subject)]


def assert_whole(found):
    for section in found:
        assert section.title
        assert all(section.text)
        assert all(picture.alt and picture.png.startswith(b"\x89PNG") for picture in section.pictures)
        for each in section.tables:
            assert all(len(row) == len(each.header) for row in each.rows)
            # Rich reads square brackets as markup.
            assert not any("[" in cell for row in (each.header, *each.rows) for cell in row)


@pytest.mark.parametrize("task", SHORT)
@pytest.mark.parametrize(
    "model",
    [name if name in {"lstm", "skip_rnn"} else pytest.param(name, marks=pytest.mark.slow) for name in members("model")],
)
def test_every_model_of_a_run_has_its_sections(subject_of, model, task):
    assert_whole(sections(subject_of(model, task)))


@pytest.mark.parametrize(
    "settings",
    [
        {"seq_len": 1},
        {"hidden_size": 1},
        pytest.param({"hidden_size": 2, "radius": 0.0}, marks=pytest.mark.slow),
        pytest.param({"hidden_size": 3, "seq_len": 40, "radius": 30.0}, marks=pytest.mark.slow),
        {"matrix": torch.tensor([[0.5, 0.01], [0.3, 0.5]])},
        pytest.param({"matrix": torch.zeros(3, 3)}, marks=pytest.mark.slow),
        pytest.param({"seq_len": 300, "hidden_size": 16}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_odd_sizes_and_matrices_have_their_sections(settings):
    assert_whole([*sections(random_small(**settings)), powers.section()])


def test_a_relu_network_that_is_all_off_has_lost_everything():
    off = torch.full((1, 4), -100.0, dtype=torch.float64)
    path = path_of(RNNRecurrence(nonlinearity="relu"), bias_ih=off)
    section = growth.section(subject(path))
    assert_whole([section])
    (row,) = table(section, "The largest exponent")
    assert (row["forward"], row["backward"], row["as a factor"], row["norm, a step"]) == ("-inf", "-inf", "0", "0")


def test_a_path_that_is_not_finite_is_said_so():
    path = path_of(RNNRecurrence(nonlinearity="tanh"))
    path.inputs[3] = math.nan
    section = growth.section(subject(trace(path.cell, path.weights, path.inputs)))
    assert_whole([section])
    (row,) = table(section, "The largest exponent")
    assert row["forward"] == row["as a factor"] == "not finite"


def test_a_run_driven_by_nothing_has_its_growth(tmp_path):
    loaded = load_run(run_small(tmp_path / "run", "model=rnn", "train.num_steps=2", *SHORT["end"]).path)
    section = growth.section(run_subject(loaded, replica=0, seq_len=12, drive="nothing"))
    assert any("12 time steps, running by itself" in line for line in section.text)
    with pytest.raises(ConfigError):
        run_subject(loaded, replica=9, seq_len=None, drive="task")
