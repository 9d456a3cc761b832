"""dL/dh_t with the exponent apart, against the engine, plain autograd, closed forms and 140 digits."""

import copy
import functools
import math
from dataclasses import replace

import mpmath
import pytest
import torch
from reference.plain_gradients import (
    DIGITS,
    EXACT_STEPS,
    exact,
    exact_jacobian,
    exact_log10_length,
    exact_output_gate,
    exact_params,
    exact_path,
    run_plain,
)
from tools.members import members, plan
from tools.training import batch_of, build

from rnnstudy.gradients.replay import mean_of_logs, replay
from rnnstudy.recurrence.base import AdjointRecorder

plan_once = functools.cache(plan)
"""Settings are frozen, and to compose them takes longer than most tests."""

TASKS = {
    "loss at the end": ("task=adding", "task.seq_len=9"),
    "loss at all steps": ("task=copy_memory", "task.delay=3", "task.num_symbols=2"),
    "words": ("task=coconut_water", "task.target=next_word"),
}
models = pytest.mark.parametrize("model", members("model"))


def recorded(network, task, batch):
    """log10 of the norms that the engine records in an ordinary backward pass."""
    recorders = [AdjointRecorder() for _ in network.recurrent_layers]
    outputs = network(batch.inputs, batch.loss_steps, recorders=recorders).outputs
    (task.loss(outputs, batch) * outputs.shape[2]).sum().backward()
    network.zero_grad(set_to_none=True)
    return [{name: a.total.norm(dim=-1).log10() for name, a in each.adjoints.items()} for each in recorders]


@models
@pytest.mark.parametrize(
    ("task", "num_layers"),
    [
        ("loss at the end", 1),
        ("loss at the end", 2),
        ("loss at all steps", 1),
        ("loss at all steps", 2),
        pytest.param("words", 2, marks=pytest.mark.slow),
    ],
)
def test_where_float64_holds_them_they_are_what_the_engine_records_and_plain_autograd_finds(model, num_layers, task):
    settings = plan_once(*TASKS[task], f"model={model}", f"model.num_layers={num_layers}", "train.batch_size=2")
    network, batch = build(settings, replicas=2), batch_of(settings, replicas=2)
    found, twin = replay(network, settings.task, batch), run_plain(network, settings.task, batch)
    for layer, (actual, expected) in enumerate(zip(found, recorded(network, settings.task, batch), strict=True)):
        assert actual.keys() == expected.keys()
        for name, logs in actual.items():
            assert not logs.requires_grad
            assert logs.dtype == torch.float64
            for other in (expected[name], twin.log10_norms(layer, name)):
                assert logs.shape == other.shape
                # A state that nothing reaches has -inf on both sides.
                assert torch.allclose(logs, other, rtol=0, atol=1e-10), (layer, name)


def small_network(model, seq_len):
    settings = plan_once(
        "task=adding", f"task.seq_len={seq_len}", f"model={model}", "model.hidden_size=3", "train.batch_size=2"
    )
    return settings, build(settings, replicas=1), batch_of(settings, replicas=1)


def exact_logs(model, network, batch, sequence):
    """log10 of the norms of dL/dh_t, and dL/dc_t, of one sequence, in 140 digits, by the product of the steps."""
    (layer,), step = network.recurrent_layers, EXACT_STEPS[model]
    params = exact_params({name: weight.detach() for name, weight in layer.weights().items()})
    size, num_states = layer.hidden_size, len(layer.recurrence.states)
    inputs = exact(batch.inputs[:, 0, sequence].double().tolist())
    path = exact_path(step, inputs, exact([0.0] * size * num_states), params)
    readout = exact(network.readout_weight[0].tolist())[0]
    output = mpmath.fdot(readout, path[-1][:size]) + mpmath.mpf(network.readout_bias[0].item())
    error = output - mpmath.mpf(batch.targets[0, 0, sequence].item())
    adjoint = mpmath.matrix([[2 * error * w for w in readout] + [mpmath.mpf(0)] * (size * (num_states - 1))])
    logs = {"h": [], "c": []}
    for x, before, after in zip(reversed(inputs), path[-2::-1], path[:0:-1], strict=True):
        of_h = list(adjoint[:size])
        logs["h"].append(exact_log10_length(of_h))
        if num_states == 2:
            gate = exact_output_gate(x, before, params)
            slopes = [o * (1 - mpmath.tanh(c) ** 2) for o, c in zip(gate, after[size:], strict=True)]
            of_c = [a + d * s for a, d, s in zip(adjoint[size:], of_h, slopes, strict=True)]
            logs["c"].append(exact_log10_length(of_c))
        adjoint *= exact_jacobian(step, x, before, params)
    return {name: list(reversed(each)) for name, each in logs.items() if each}


def assert_agrees_with_140_digits(model, settings, network, batch, tolerance):
    found = replay(network, settings.task, batch)[0]
    worst = 0.0
    with mpmath.workdps(DIGITS):
        for sequence in range(2):
            expected = exact_logs(model, network, batch, sequence)
            assert expected.keys() == found.keys()
            for name, logs in expected.items():
                actual = found[name][:, 0, sequence].tolist()
                worst = max(worst, *(abs(a - b) for a, b in zip(actual, logs, strict=True)))
    assert worst < tolerance, worst
    return found


@pytest.mark.parametrize("model", ["rnn", pytest.param("gru", marks=pytest.mark.slow), "lstm"])
def test_powers_of_ten_below_minus_5000_agree_with_140_digits(model):
    """Weights of 1e-80, and the gates z and f shut to about as much.

    Largest error found: 9.1e-13, one unit in the last place of a power of ten near -5500.
    """
    settings, network, batch = small_network(model, 70)
    weights = network.recurrent_layers[0].weights()
    with torch.no_grad():
        weights["weight_hh"] *= 1e-80
        if model != "rnn":
            weights["bias_ih"][:, 3:6] = -184.0
    found = assert_agrees_with_140_digits(model, settings, network, batch, 1e-11)
    assert (found["h"][0] < -5000).all()
    assert not found["h"].isinf().any()


@pytest.mark.parametrize("model", ["rnn", pytest.param("gru", marks=pytest.mark.slow), "lstm"])
def test_powers_of_ten_beyond_400_agree_with_140_digits(model):
    """The states stay exactly zero, else no float64 could follow them; the gates still change with the inputs."""
    settings, network, batch = small_network(model, 70)
    weights = network.recurrent_layers[0].weights()
    candidate = {"rnn": slice(0, 3), "gru": slice(6, 9), "lstm": slice(6, 9)}[model]
    with torch.no_grad():
        weights["weight_hh"][:, candidate] = 1e8 * torch.eye(3).double() + weights["weight_hh"][:, candidate]
        for name in ("weight_ih", "bias_ih", "bias_hh"):
            weights[name][:, candidate] = 0.0
    found = assert_agrees_with_140_digits(model, settings, network, batch, 1e-11)
    assert (found["h"][0] > 400).all()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rnn", "gru", "lstm"])
def test_a_slow_decay_over_many_steps_agrees_with_140_digits(model):
    settings, network, batch = small_network(model, 500)
    assert_agrees_with_140_digits(model, settings, network, batch, 1e-11)


def test_a_float32_gradient_that_shows_zero_is_told_apart_from_one_that_is_zero():
    settings = plan_once("task=adding", "task.seq_len=60", "model=rnn", "model.hidden_size=4")
    network, batch = build(settings, replicas=2, dtype=torch.float32), batch_of(settings, replicas=2)
    with torch.no_grad():
        network.recurrent_layers[0].weights()["weight_hh"] *= 0.01
    recorder = AdjointRecorder()
    outputs = network(batch.inputs, batch.loss_steps, recorders=[recorder]).outputs
    settings.task.loss(outputs, batch).sum().backward()
    assert not recorder.adjoints["h"].total[:20].any()
    logs = replay(network, settings.task, batch)[0]["h"]
    assert logs.isfinite().all()
    assert (logs[:20] < -45).all()


def test_what_is_exactly_zero_is_minus_infinity():
    settings = plan_once("task=adding", "task.seq_len=8", "model=irnn", "model.num_layers=2")
    network, batch = build(settings), batch_of(settings)
    lower, upper = (layer.weights() for layer in network.recurrent_layers)
    with torch.no_grad():
        lower["bias_ih"][1] = -100.0
        upper["bias_ih"][2] = -100.0
    below, above = (each["h"] for each in replay(network, settings.task, batch))
    # Replica 1: the lower layer is off, so nothing goes back through it; the states of the last step still get theirs.
    assert (below[:-1, 1][above[1:, 1] == -math.inf] == -math.inf).all()
    assert below[:, 0].isfinite().any()
    # Replica 2: the upper layer is off: only its last state is reached, and no state below.
    assert (above[:-1, 2] == -math.inf).all()
    assert above[-1, 2].isfinite().all()
    assert (below[:, 2] == -math.inf).all()


@pytest.mark.parametrize("model", ["rnn", "lstm"])
def test_states_after_the_last_loss_step_get_nothing(model):
    settings = plan_once("task=adding", "task.seq_len=8", f"model={model}", "model.num_layers=2")
    network, batch = build(settings), batch_of(settings)
    early = replace(batch, loss_steps=torch.tensor([3]))
    for found, expected in zip(
        replay(network, settings.task, early), recorded(network, settings.task, early), strict=True
    ):
        for name, logs in found.items():
            assert (logs[4:] == -math.inf).all()
            assert torch.allclose(logs[:4], expected[name][:4], rtol=0, atol=1e-10)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("model", ["rnn", "gru", "lstm"])
def test_a_sequence_that_is_not_finite_gives_nan_and_leaves_the_others_alone(model, num_layers):
    settings = plan_once("task=adding", "task.seq_len=8", f"model={model}", f"model.num_layers={num_layers}")
    network, batch = build(settings), batch_of(settings)
    expected = replay(network, settings.task, batch)
    inputs = batch.inputs.clone()
    inputs[3, 1, 2] = math.nan
    found = replay(network, settings.task, replace(batch, inputs=inputs))
    others = torch.ones(3, 4, dtype=torch.bool)
    others[1, 2] = False
    for one, other in zip(found, expected, strict=True):
        for name, logs in one.items():
            assert logs[:, 1, 2].isnan().all()
            assert torch.allclose(logs[:, others], other[name][:, others], rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", ["rnn", "orthogonal_rnn", "lru"])
def test_a_float32_network_is_replayed_as_its_float64_copy(model):
    settings = plan_once("task=adding", "task.seq_len=8", f"model={model}")
    network, batch = build(settings, dtype=torch.float32), batch_of(settings)
    found = replay(network, settings.task, batch)
    expected = replay(copy.deepcopy(network).double(), settings.task, batch)
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_mean_of_logs_is_the_log_of_the_mean_however_small_or_large():
    generator = torch.Generator().manual_seed(0)
    logs = torch.randn(5, 2, 7, generator=generator, dtype=torch.float64) * 3
    for shift in (0.0, -5000.0, 4000.0):
        found = mean_of_logs(logs + shift)
        assert torch.allclose(found, (10**logs).mean(-1).log10() + shift, rtol=1e-14, atol=1e-12)


def test_the_mean_of_logs_counts_zeros_and_passes_on_what_is_not_finite():
    logs = torch.tensor([[[-6000.0, -math.inf]], [[-math.inf, -math.inf]], [[math.nan, 3.0]]], dtype=torch.float64)
    found = mean_of_logs(logs)
    assert found.shape == (3, 1)
    assert found[0, 0].item() == pytest.approx(-6000 - math.log10(2), abs=1e-11)
    assert found[1, 0].item() == -math.inf
    assert found[2, 0].isnan()
