"""Lyapunov exponents against a numpy loop of QR over plain Jacobians, float64, to 1e-8; and closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from reference.plain_gradients import each_sequence, plain_jacobians, qr_growth
from tools.members import members
from tools.records import (
    REPLICAS,
    TASKS,
    damaged,
    draw,
    figures,
    linear,
    moved,
    network_of,
    plain_paths,
    plan_once,
    record_of,
)

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.trajectories import Trajectory, network_trajectories
from rnnstudy.instruments.lyapunov import Lyapunov
from rnnstudy.models.gru import GRU
from rnnstudy.models.lstm import LSTM
from rnnstudy.models.rnn import RNN
from rnnstudy.tasks.parity import Parity

ATOL = 1e-8


RECTIFIED = {"irnn", "indrnn", "orthogonal_rnn"}
"""Units that are off lose directions, in whose place QR would put directions of its own."""


def exponents(factors, burn_in, *, losing):
    """Mean logarithms by which the vectors of a frame grow; -inf of one that was lost."""
    if not losing:
        return qr_growth(factors)[burn_in:].mean(0)
    size = factors.shape[-1]
    frame, sums = dict(enumerate(np.eye(size))), np.zeros(size)
    for step, factor in enumerate(factors):
        moved = {place: factor @ vector for place, vector in frame.items()}
        least = 1e-15 * size * np.linalg.norm(list(moved.values()))
        frame = {}
        for place, vector in moved.items():
            rest = vector
            for other in [*frame.values(), *frame.values()]:
                rest = rest - (other @ rest) * other
            length = np.linalg.norm(rest)
            if length > least:
                frame[place] = rest / length
                sums[place] += np.log(length) if step >= burn_in else 0
    kept = [place in frame for place in range(size)]
    return np.where(kept, sums / (len(factors) - burn_in), -np.inf)


def assert_matches(measured, paths, burn_in=0, *, losing=False):
    """Every tag against the means over the sequences of what the frames grow by."""
    tags = set()
    for index, path in enumerate(paths):
        jacobians = plain_jacobians(path)[0].numpy()
        spectra = np.zeros((*jacobians.shape[1:3], path.state_size))
        backward = np.zeros(jacobians.shape[1:3])
        for place in each_sequence(path):
            of = jacobians[:, place[0], place[1]]
            spectra[place] = np.sort(exponents(of, burn_in, losing=losing))[::-1]
            backward[place] = exponents(of[::-1].transpose(0, 2, 1), burn_in, losing=losing).max()
        spectrum = spectra.mean(1)
        expected = {
            "largest": spectrum[:, 0],
            "mean": spectrum.mean(-1),
            "backward_largest": backward.mean(1),
            "spectrum": spectrum,
        }
        for tag, values in expected.items():
            found = measured[f"lyapunov/layer_{index}/{tag}"].numpy()
            np.testing.assert_allclose(found, values, rtol=0, atol=ATOL, err_msg=tag)
        tags |= {f"lyapunov/layer_{index}/{tag}" for tag in expected}
    assert measured.keys() == tags


@pytest.mark.parametrize("model", members("model"))
@pytest.mark.parametrize("burn_in", [0, 2])
def test_exponents_are_those_of_a_plain_loop_of_qr(model, burn_in):
    settings = plan_once(*TASKS["loss at the end"], f"model={model}", "model.num_layers=2", "model.hidden_size=4")
    network, probe = moved(network_of(settings.model, settings.task)), draw(settings.task)
    measured = figures(Lyapunov(burn_in=burn_in), record_of(network, probe, task=settings.task))
    paths = plain_paths(network, probe.inputs[:, :, :2])
    assert_matches(measured, paths, burn_in, losing=model in RECTIFIED)


def test_words_drive_a_network_too():
    settings = plan_once(*TASKS["words, loss at all steps"], "model=gru", "model.hidden_size=3")
    network, probe = moved(network_of(settings.model, settings.task)), draw(settings.task)
    measured = figures(Lyapunov(sequences=3), record_of(network, probe, task=settings.task))
    assert_matches(measured, plain_paths(network, probe.inputs[:, :, :3]))


def test_driven_by_nothing_the_inputs_do_not_matter_and_every_layer_runs_from_its_random_state():
    network, probe = moved(network_of(GRU(hidden_size=3, num_layers=2))), draw()
    measured = figures(Lyapunov(drive="nothing"), record_of(network, probe))
    others = replace(probe, inputs=5 * probe.inputs.flip(0))
    again = figures(Lyapunov(drive="nothing"), record_of(network, others))
    assert all(torch.equal(values, again[tag]) for tag, values in measured.items())
    starts = network_trajectories(network, probe.inputs[:, :, :2], drive="nothing")
    paths = [
        Trajectory(
            cell=path.cell,
            weights=path.weights,
            inputs=torch.zeros_like(path.inputs),
            initial=start.initial,
            states=(),
        )
        for path, start in zip(plain_paths(network, probe.inputs[:, :, :2]), starts, strict=True)
    ]
    assert all(state.std() > 0.5 for path in paths for state in path.initial)
    assert_matches(measured, paths)


@pytest.mark.parametrize("drive", ["task", "nothing"])
def test_a_linear_network_has_the_logarithms_of_its_factors_whatever_drives_it(drive):
    network = linear(torch.diag(torch.tensor([0.5, -2.0, 0.1], dtype=torch.float64)))
    measured = figures(Lyapunov(drive=drive), record_of(network, draw()))
    spectrum = [math.log(2), math.log(0.5), math.log(0.1)]
    for replica in range(REPLICAS):
        assert measured["lyapunov/layer_0/spectrum"][replica].tolist() == pytest.approx(spectrum, abs=1e-12)
        assert float(measured["lyapunov/layer_0/largest"][replica]) == pytest.approx(math.log(2), abs=1e-12)
        assert float(measured["lyapunov/layer_0/backward_largest"][replica]) == pytest.approx(math.log(2), abs=1e-12)
        assert float(measured["lyapunov/layer_0/mean"][replica]) == pytest.approx(sum(spectrum) / 3, abs=1e-12)


def test_a_single_unit_has_the_mean_logarithm_of_its_slopes():
    """h = tanh(w h + ...): each step multiplies by w (1 - h^2); forward and backward are the same product."""
    network, probe = network_of(RNN(hidden_size=1)), draw()
    measured = figures(Lyapunov(sequences=1), record_of(network, probe))
    weights = {name: weight.detach() for name, weight in network.recurrent_layers[0].weights().items()}
    for replica in range(REPLICAS):
        w = float(weights["weight_hh"][replica])
        h, logs = 0.0, []
        for x in probe.inputs[:, replica, 0].double():
            driven = float(weights["weight_ih"][replica, 0] @ x)
            bias = float(weights["bias_ih"][replica] + weights["bias_hh"][replica])
            h = math.tanh(driven + w * h + bias)
            logs.append(math.log(abs(w) * (1 - h * h)))
        expected = pytest.approx(math.fsum(logs) / len(logs), abs=1e-12)
        for tag in ("largest", "mean", "backward_largest"):
            assert float(measured[f"lyapunov/layer_0/{tag}"][replica]) == expected


def test_a_lost_direction_has_an_exponent_of_minus_infinity():
    network = linear(torch.diag(torch.tensor([0.5, 0.0], dtype=torch.float64)))
    measured = figures(Lyapunov(), record_of(network, draw()))
    for replica in range(REPLICAS):
        assert measured["lyapunov/layer_0/spectrum"][replica].tolist() == pytest.approx([math.log(0.5), -math.inf])
        assert float(measured["lyapunov/layer_0/mean"][replica]) == -math.inf
        assert float(measured["lyapunov/layer_0/largest"][replica]) == pytest.approx(math.log(0.5))
    nothing = figures(Lyapunov(), record_of(linear(torch.zeros(2, 2, dtype=torch.float64)), draw()))
    assert all((values == -math.inf).all() for values in nothing.values())


def test_a_burn_in_longer_than_the_sequence_leaves_one_step():
    network, probe = moved(network_of(RNN(hidden_size=3))), draw()
    long, all_but_one = (figures(Lyapunov(burn_in=steps), record_of(network, probe)) for steps in (1000, 5))
    assert all(torch.equal(values, all_but_one[tag]) for tag, values in long.items())
    assert_matches(long, plain_paths(network, probe.inputs[:, :, :2]), burn_in=5)


def test_a_single_time_step_has_exponents():
    task = Parity(seq_len=1)
    network, probe = moved(network_of(RNN(hidden_size=3), task)), draw(task)
    assert_matches(
        figures(Lyapunov(), record_of(network, probe, task=task)), plain_paths(network, probe.inputs[:, :, :2])
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("drive", ["task", "nothing"])
def test_weights_that_are_not_finite_leave_the_other_replicas_figures_as_they_are(value, drive):
    network, probe = network_of(LSTM(hidden_size=3, num_layers=2)), draw()
    expected = figures(Lyapunov(drive=drive), record_of(network, probe))
    measured = figures(Lyapunov(drive=drive), record_of(damaged(network, value), probe))
    for tag, values in measured.items():
        assert torch.allclose(values[0::2], expected[tag][0::2], rtol=0, atol=1e-12)
        if math.isnan(value):
            assert values[1].isnan().all(), tag


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"sequences": 0}, "sequences must be at least 1, got 0"),
        ({"burn_in": -1}, "burn_in must be at least 0, got -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Lyapunov(**arguments)
