"""Paths against the plain loop and the network itself, float64; and what nothing in `gradients` may touch."""

import copy
import functools
import math
import re

import numpy as np
import pytest
import torch
from reference.plain_gradients import plain_states, trajectory_of
from reference.problems import RECURRENCES, Sizes, make_problem
from tools.members import members, plan
from tools.training import batch_of, build

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.jacobians import contributions, input_contributions, input_jacobians, step_jacobians
from rnnstudy.gradients.lyapunov import lyapunov
from rnnstudy.gradients.replay import replay
from rnnstudy.gradients.spectra import conditions, non_normality, spectral_norm, spectral_radius
from rnnstudy.gradients.trajectories import (
    RANDOM_INPUTS,
    in_double,
    network_trajectories,
    random_trajectory,
    trace,
    with_radius,
)
from rnnstudy.gradients.weight_terms import weight_gradients, weight_terms
from rnnstudy.recurrence.gru import GRURecurrence
from rnnstudy.recurrence.indrnn import IndRNNRecurrence
from rnnstudy.recurrence.lstm import LSTMRecurrence
from rnnstudy.recurrence.rnn import RNNRecurrence

plan_once = functools.cache(plan)
"""Settings are frozen, and to compose them takes longer than most tests."""

every_cell = pytest.mark.parametrize("recurrence", RECURRENCES, ids=repr)
models = pytest.mark.parametrize("model", members("model"))
TANH = RNNRecurrence(nonlinearity="tanh")


def settings_of(model, *overrides):
    return plan_once("task=adding", "task.seq_len=6", f"model={model}", "model.num_layers=2", *overrides)


@every_cell
def test_states_are_those_of_the_plain_loop_and_before_is_one_step_late(recurrence):
    problem = make_problem(recurrence, Sizes(time=6))
    path = trajectory_of(recurrence, problem)
    expected = plain_states(recurrence, path.inputs, path.initial, path.weights)
    assert torch.allclose(torch.cat(path.states, -1), expected[1:], rtol=1e-10, atol=1e-12)
    assert torch.allclose(torch.cat(path.before, -1), expected[:-1], rtol=1e-10, atol=1e-12)
    assert path.num_steps == 6
    assert path.state_size == expected.shape[-1]
    assert path.state_size == path.hidden_size * len(recurrence.states)
    for state, values in zip(recurrence.states, path.states, strict=True):
        assert torch.allclose(expected[1:, ..., path.block(state)], values, rtol=1e-10, atol=1e-12)
        assert not values.requires_grad


@every_cell
def test_a_path_without_a_start_begins_at_zero(recurrence):
    problem = trajectory_of(recurrence, make_problem(recurrence, Sizes(time=3)))
    path = trace(recurrence, problem.weights, problem.inputs)
    assert all(
        torch.equal(start, torch.zeros_like(given)) for start, given in zip(path.initial, problem.initial, strict=True)
    )
    expected = plain_states(recurrence, path.inputs, path.initial, path.weights)
    assert torch.allclose(torch.cat(path.states, -1), expected[1:], rtol=1e-10, atol=1e-12)


@every_cell
def test_a_replica_alone_is_the_path_of_that_replica(recurrence):
    path = trajectory_of(recurrence, make_problem(recurrence, Sizes(time=4, replica=3)))
    alone = path.replica(1)
    assert torch.equal(alone.inputs, path.inputs[:, 1:2])
    assert all(torch.equal(alone.weights[name], weight[1:2]) for name, weight in path.weights.items())
    for one, other in zip((*alone.states, *alone.before), (*path.states, *path.before), strict=True):
        assert torch.equal(one, other[:, 1:2])
    assert torch.allclose(step_jacobians(alone), step_jacobians(path)[:, 1:2], rtol=1e-12, atol=1e-14)


@models
def test_paths_of_a_network_are_those_of_its_own_forward_pass_in_float64(model):
    settings = settings_of(model)
    network, batch = build(settings, dtype=torch.float32), batch_of(settings)
    double = copy.deepcopy(network).double()
    expected = double(batch.inputs, batch.loss_steps).states
    paths = network_trajectories(network, batch.inputs)
    assert len(paths) == 2
    for number, (path, states) in enumerate(zip(paths, expected, strict=True)):
        for one, other in zip(path.states, states, strict=True):
            assert one.dtype == torch.float64
            assert torch.allclose(one, other, rtol=1e-12, atol=1e-14)
        assert not any(start.any() for start in path.initial)
        layer = double.recurrent_layers[number]
        below = double.recurrent_layers[0].output(expected[0][0]) if number else double.embed(batch.inputs)
        assert torch.allclose(path.inputs, below, rtol=1e-12, atol=1e-14)
        assert all(torch.equal(path.weights[name], weight) for name, weight in layer.weights().items())


def test_paths_of_a_network_that_reads_words_start_from_its_embedding():
    settings = plan_once("task=coconut_water", "model=gru", "train.batch_size=2")
    network, batch = build(settings), batch_of(settings)
    (path,) = network_trajectories(network, batch.inputs)
    assert network.embedding is not None
    for replica in range(3):
        assert torch.equal(path.inputs[:, replica], network.embedding.detach()[replica][batch.inputs[:, replica]])


@models
def test_driven_by_nothing_every_layer_runs_by_itself_from_the_same_random_state(model):
    settings = settings_of(model)
    network, batch = build(settings), batch_of(settings)
    first, again = (network_trajectories(network, batch.inputs, drive="nothing") for _ in range(2))
    other = network_trajectories(network, batch.inputs + 1, drive="nothing")
    for one, two, three in zip(first, again, other, strict=True):
        assert not one.inputs.any()
        for path in (two, three):
            assert all(torch.equal(a, b) for a, b in zip(one.states, path.states, strict=True))
            assert all(torch.equal(a, b) for a, b in zip(one.initial, path.initial, strict=True))
        expected = plain_states(one.cell, one.inputs, one.initial, one.weights)
        assert torch.allclose(torch.cat(one.states, -1), expected[1:], rtol=1e-10, atol=1e-12)
        start = torch.cat([state.flatten() for state in one.initial])
        assert len(set(start.tolist())) == len(start)
        assert abs(float(start.mean())) < 5 / len(start) ** 0.5
        assert float(start.std()) == pytest.approx(1, abs=5 / len(start) ** 0.5)


def test_a_copy_in_float64_shares_nothing_with_the_network():
    network = build(settings_of("lstm"), dtype=torch.float32)
    before = snapshot(network)
    double = in_double(network)
    with torch.no_grad():
        for name, parameter in double.named_parameters():
            assert parameter.dtype == torch.float64
            assert not parameter.requires_grad
            assert torch.equal(parameter, dict(network.named_parameters())[name].double())
            parameter.fill_(7)
    assert_unchanged(network, before)


@pytest.mark.parametrize(
    "recurrence", [TANH, GRURecurrence(layer_norm=False), LSTMRecurrence(layer_norm=False)], ids=repr
)
def test_a_random_path_depends_on_its_seed_alone_and_has_the_radius_asked_for(recurrence):
    sizes = {"hidden_size": 5, "seq_len": 7}
    free, same, other = (random_trajectory(recurrence, seed=seed, **sizes) for seed in (3, 3, 4))
    assert torch.equal(free.states[0], same.states[0])
    assert not torch.equal(free.states[0], other.states[0])
    assert not torch.equal(free.inputs, other.inputs)
    assert free.inputs.shape == (7, 1, 1, RANDOM_INPUTS)
    assert free.num_steps == 7
    assert free.inputs.dtype == torch.float64
    for weight in free.weights.values():
        assert 0 < float(weight.abs().max()) <= 5**-0.5
    scaled = random_trajectory(recurrence, seed=3, radius=1.3, **sizes)
    for name, weight in scaled.weights.items():
        if name != "weight_hh":
            assert torch.equal(weight, free.weights[name])
    for block, before in zip(
        scaled.weights["weight_hh"][0].split(5), free.weights["weight_hh"][0].split(5), strict=True
    ):
        assert np.abs(np.linalg.eigvals(block.numpy())).max() == pytest.approx(1.3, rel=1e-12)
        assert torch.allclose(block / block[0, 0], before / before[0, 0], rtol=1e-12, atol=0)
    expected = plain_states(recurrence, scaled.inputs, scaled.initial, scaled.weights)
    assert torch.allclose(torch.cat(scaled.states, -1), expected[1:], rtol=1e-10, atol=1e-12)


def test_weights_of_a_random_path_are_uniform_and_its_inputs_standard_normal():
    path = random_trajectory(TANH, hidden_size=60, seq_len=500, seed=0)
    weight, inputs = path.weights["weight_hh"], path.inputs
    bound = 60**-0.5
    assert float(weight.abs().max()) == pytest.approx(bound, rel=0.01)
    assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert float(inputs.std()) == pytest.approx(1, rel=0.06)
    assert abs(float(inputs.mean())) < 0.1


def test_every_block_gets_the_radius_and_one_without_eigenvalues_stays():
    weight = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 9, 3)))
    weight[1, 3:6] = torch.triu(weight[1, 3:6], diagonal=1)
    before = weight.clone()
    for radius in (0.5, 3.0, 0.0):
        found = with_radius(weight, radius)
        assert torch.equal(weight, before)
        for place in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2)):
            block = found[place[0]].split(3)[place[1]]
            assert np.abs(np.linalg.eigvals(block.numpy())).max() == pytest.approx(radius, rel=1e-12, abs=1e-14)
        assert torch.equal(found[1, 3:6], weight[1, 3:6])


def refused(line):
    return pytest.raises(ConfigError, match=f"^{re.escape(line)}$")


def test_bad_arguments_are_refused_in_one_line():
    settings = settings_of("lstm")
    network, batch = build(settings), batch_of(settings)
    path = network_trajectories(network, batch.inputs)[0]
    for drive in ("task", "nothing"):
        with refused("seq_len must be at least 1, got 0."):
            network_trajectories(network, batch.inputs[:0], drive=drive)
    with refused("seq_len must be at least 1, got 0."):
        trace(path.cell, path.weights, path.inputs[:0])
    with refused("state must be one of h, c for this cell, got 'z'."):
        path.block("z")
    good = {"hidden_size": 3, "seq_len": 4, "seed": 0}
    for name, value, line in (
        ("hidden_size", 0, "hidden_size must be at least 1, got 0."),
        ("hidden_size", 2_000_000, "hidden_size must be at most 1000000, got 2000000."),
        ("seq_len", 0, "seq_len must be at least 1, got 0."),
        ("seed", -1, "seed must be at least 0, got -1."),
        ("radius", -0.5, "radius must be at least 0, got -0.5."),
        ("radius", math.nan, "radius must be at least 0, got nan."),
        ("radius", math.inf, "radius must be a finite number, at most 1e+30 in size, got inf."),
    ):
        with refused(line):
            random_trajectory(TANH, **{**good, name: value})
    with refused("radius scales weight_hh, which this cell does not have; leave it out."):
        random_trajectory(IndRNNRecurrence(), hidden_size=3, seq_len=4, seed=0, radius=0.9)
    with refused("radius must be at least 0, got -1."):
        with_radius(torch.eye(2).double()[None], -1)


def snapshot(network):
    """Bits of everything that a network holds, and whether it wants gradients."""
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    held = {name: (tensor, tensor.detach().clone(), tensor.requires_grad) for name, tensor in tensors.items()}
    grads = {name: None if p.grad is None else (p.grad, p.grad.clone()) for name, p in network.named_parameters()}
    return held, grads, network.training


def assert_unchanged(network, before):
    """Tensors the same objects with the same bits, gradients too."""
    held, grads, training = before
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    assert tensors.keys() == held.keys()
    assert network.training == training
    for name, tensor in tensors.items():
        old, values, wants = held[name]
        assert tensor is old, name
        assert tensor.dtype == values.dtype
        assert torch.equal(tensor, values), name
        assert tensor.requires_grad == wants, name
    for name, parameter in network.named_parameters():
        if grads[name] is None:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is grads[name][0], name
            assert torch.equal(parameter.grad, grads[name][1]), name


def everything(network, settings, batch):
    """Call all there is; gives the tensors that came out."""
    found = []
    for drive in ("task", "nothing"):
        for path in network_trajectories(network, batch.inputs, drive=drive):
            for state in path.cell.recorded:
                found += [contributions(path, state).log10_norm, input_contributions(path, state)]
            exponents = lyapunov(path, burn_in=1)
            found += [step_jacobians(path), input_jacobians(path), exponents.forward, exponents.backward]
    for terms in weight_terms(network, settings.task, batch):
        found += terms.gradients.values()
    found += [gradient for layer in weight_gradients(network, settings.task, batch) for gradient in layer.values()]
    found += [logs for layer in replay(network, settings.task, batch) for logs in layer.values()]
    random = random_trajectory(TANH, hidden_size=3, seq_len=4, seed=0, radius=0.9)
    found += [*random.states, with_radius(random.weights["weight_hh"], 0.5)]
    for layer in network.recurrent_layers:
        weight = layer.weights().get("weight_hh", torch.eye(3)[None]).detach()
        block = weight[:, : weight.shape[-1]]
        found += [spectral_radius(block), spectral_norm(block), non_normality(block)]
        found += [torch.tensor(conditions(block[0], gamma=1.0).radius)]
    return found


@models
def test_nothing_uses_or_changes_global_random_state_or_the_network(model):
    settings = settings_of(model, "train.batch_size=2")
    network, batch = build(settings, replicas=2, dtype=torch.float32), batch_of(settings, replicas=2)
    settings.task.loss(network(batch.inputs, batch.loss_steps).outputs, batch).sum().backward()
    before, inputs = snapshot(network), batch.inputs.clone()
    torch_state, numpy_state = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002 - read, to see it unchanged
    first = everything(network, settings, batch)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert repr(np.random.get_state()) == numpy_state  # noqa: NPY002 - read, to see it unchanged
    assert_unchanged(network, before)
    assert torch.equal(batch.inputs, inputs)
    torch.rand(3)
    with torch.no_grad():
        second = everything(network, settings, batch)
    assert_unchanged(network, before)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.nan_to_num(9e9), other.nan_to_num(9e9))
