"""Norms of Jacobians against products of torch.autograd.functional.jacobian of plain cells; log10 to 1e-9."""

import math

import numpy as np
import pytest
import torch
from reference.plain_gradients import each_sequence, plain_jacobians
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
from rnnstudy.instruments.jacobian_norms import JacobianNorms
from rnnstudy.models.lstm import LSTM
from rnnstudy.models.rnn import RNN
from rnnstudy.tasks.adding import Adding
from rnnstudy.tasks.parity import Parity

ATOL = 1e-9


def log10_norm(matrix):
    with np.errstate(divide="ignore"):
        return np.log10(np.linalg.svd(matrix, compute_uv=False)[0])


def twin(path):
    """Curves over time, mean over the sequences: of every step, and of the products of one state; (replica, time)."""
    jacobians = plain_jacobians(path)[0].numpy()
    time, replicas, batch = jacobians.shape[:3]
    steps = np.zeros((time, replicas, batch))
    products = {state: np.zeros((time, replicas, batch)) for state in path.cell.recorded}
    for replica, sequence in each_sequence(path):
        product = np.eye(path.state_size)
        for t in reversed(range(time)):
            for state, logs in products.items():
                first = path.cell.states.index(state) * path.hidden_size
                place = slice(first, first + path.hidden_size)
                logs[t, replica, sequence] = log10_norm(product[place, place])
            jacobian = jacobians[t, replica, sequence]
            steps[t, replica, sequence] = log10_norm(jacobian)
            product = product @ jacobian
    return steps.mean(-1).T, {state: logs.mean(-1).T for state, logs in products.items()}


@pytest.mark.parametrize("model", members("model"))
@pytest.mark.parametrize(("task", "num_layers"), [("loss at the end", 2), ("symbols, loss at the end", 1)])
def test_steps_and_products_are_those_of_plain_jacobians(model, task, num_layers):
    settings = plan_once(*TASKS[task], f"model={model}", f"model.num_layers={num_layers}")
    network, probe = moved(network_of(settings.model, settings.task)), draw(settings.task)
    measured = figures(JacobianNorms(sequences=2), record_of(network, probe, task=settings.task))
    tags = set()
    for index, path in enumerate(plain_paths(network, probe.inputs[:, :, :2])):
        name = f"jacobian_norms/layer_{index}"
        steps, products = twin(path)
        tags.add(f"{name}/log10_step")
        np.testing.assert_allclose(measured[f"{name}/log10_step"].numpy(), steps, rtol=0, atol=ATOL)
        for state, logs in products.items():
            tags |= {f"{name}/{state}/log10_product", f"{name}/{state}/decay"}
            np.testing.assert_allclose(measured[f"{name}/{state}/log10_product"].numpy(), logs, rtol=0, atol=ATOL)
            decay = logs[:, 0] / (path.num_steps - 1)
            np.testing.assert_allclose(measured[f"{name}/{state}/decay"].numpy(), decay, rtol=0, atol=ATOL)
    assert measured.keys() == tags


def test_words_enter_through_the_embedding_and_c_has_products_of_its_own():
    settings = plan_once(*TASKS["words, loss at all steps"], "model=lstm", "model.hidden_size=3")
    network, probe = moved(network_of(settings.model, settings.task)), draw(settings.task)
    measured = figures(JacobianNorms(sequences=1), record_of(network, probe, task=settings.task))
    (path,) = plain_paths(network, probe.inputs[:, :, :1])
    for state, logs in twin(path)[1].items():
        found = measured[f"jacobian_norms/layer_0/{state}/log10_product"].numpy()
        np.testing.assert_allclose(found, logs, rtol=0, atol=ATOL)
    h, c = (measured[f"jacobian_norms/layer_0/{state}/decay"] for state in ("h", "c"))
    assert not torch.allclose(h, c)


@pytest.mark.parametrize("factor", [1e-30, 1e30, 1.0])
def test_products_beyond_the_range_of_float64_are_powers_all_the_same(factor):
    """A network that multiplies its state by one number: ||dh_T/dh_t|| is its (T-t)-th power, 10^-1470 at the start."""
    task = Adding(seq_len=50)
    network = linear(factor * torch.eye(3, dtype=torch.float64), task)
    measured = figures(JacobianNorms(), record_of(network, draw(task), task=task))
    powers = [math.log10(factor) * (49 - t) for t in range(50)]
    for replica in range(REPLICAS):
        found = measured["jacobian_norms/layer_0/h/log10_product"][replica].tolist()
        assert found == pytest.approx(powers, rel=1e-12, abs=1e-12)
        assert measured["jacobian_norms/layer_0/log10_step"][replica].tolist() == pytest.approx([powers[-2]] * 50)
        assert float(measured["jacobian_norms/layer_0/h/decay"][replica]) == pytest.approx(
            math.log10(factor), abs=1e-12
        )


def test_a_network_that_forgets_at_once_has_products_of_minus_infinity():
    network = linear(torch.zeros(3, 3, dtype=torch.float64))
    measured = figures(JacobianNorms(), record_of(network, draw()))
    for replica in range(REPLICAS):
        assert measured["jacobian_norms/layer_0/h/log10_product"][replica].tolist() == [-math.inf] * 5 + [0]
        assert measured["jacobian_norms/layer_0/log10_step"][replica].tolist() == [-math.inf] * 6
        assert float(measured["jacobian_norms/layer_0/h/decay"][replica]) == -math.inf


def test_a_single_time_step_has_a_product_of_one_and_no_decay():
    task = Parity(seq_len=1)
    measured = figures(JacobianNorms(), record_of(network_of(RNN(hidden_size=3), task), draw(task), task=task))
    assert measured["jacobian_norms/layer_0/h/log10_product"].tolist() == [[0]] * REPLICAS
    assert measured["jacobian_norms/layer_0/h/decay"].isnan().all()
    assert measured["jacobian_norms/layer_0/log10_step"].isfinite().all()


def test_only_the_first_sequences_of_the_probe_count():
    network, probe = moved(network_of(RNN(hidden_size=4))), draw()
    few = figures(JacobianNorms(sequences=2), record_of(network, probe, batch=draw(stream="train")))
    alone = figures(JacobianNorms(sequences=9), record_of(network, probe.sequences(0, 2)))
    more = figures(JacobianNorms(sequences=3), record_of(network, probe))
    for tag, values in few.items():
        assert torch.allclose(values, alone[tag], rtol=0, atol=1e-12)
        assert not torch.allclose(values, more[tag], rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_leave_the_other_replicas_figures_as_they_are(value):
    network, probe = network_of(LSTM(hidden_size=4, num_layers=2)), draw()
    expected = figures(JacobianNorms(), record_of(network, probe))
    measured = figures(JacobianNorms(), record_of(damaged(network, value), probe))
    for tag, values in measured.items():
        assert torch.allclose(values[0::2], expected[tag][0::2], rtol=0, atol=1e-12)
        if math.isnan(value):
            # The product over no step at all is the identity, whatever the weights.
            assert values[1].reshape(-1)[:1].isnan().all(), tag


def test_sequences_must_be_one_at_least():
    with pytest.raises(ConfigError, match="sequences must be at least 1, got 0"):
        JacobianNorms(sequences=0)
