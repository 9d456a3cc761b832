"""Terms of the weights' gradient against copies of the weights for every time step, float64, relative error 1e-10."""

import functools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from reference.plain_gradients import run_plain
from tools.members import members, plan
from tools.training import batch_of, build
from torch import Tensor
from torch.nn.utils import parametrize

from rnnstudy.gradients import weight_terms as module
from rnnstudy.gradients.weight_terms import Terms, weight_gradients, weight_terms
from rnnstudy.models.base import Network
from rnnstudy.tasks.base import Batch

MODELS = members("model")
TASKS = {
    "loss at the end": ("task=adding", "task.seq_len=6"),
    "loss at all steps": ("task=copy_memory", "task.delay=2", "task.num_symbols=2"),
}
plan_once = functools.cache(plan)
"""Settings are frozen, and to compose them takes longer than most tests."""

RTOL = 1e-10

models = pytest.mark.parametrize("model", MODELS)
depths = pytest.mark.parametrize("num_layers", [1, 2])
tasks = pytest.mark.parametrize("task", TASKS)


def settings_of(model, task, num_layers=1):
    return plan_once(*TASKS[task], f"model={model}", f"model.num_layers={num_layers}", "train.batch_size=3")


def moved(network: Network) -> Network:
    """Away from weights that are zero or alike at the start."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype), alpha=0.2)
    return network


def gathered(found: Iterable[Terms]) -> dict[tuple[int, int], dict[str, Tensor]]:
    """Loss step and layer to every weight's terms of all source steps, which must follow each other without gaps."""
    runs = defaultdict(list)
    for terms in found:
        runs[terms.loss_step, terms.layer].append(terms)
    joined = {}
    for place, parts in runs.items():
        first = 0
        for part in sorted(parts, key=lambda each: each.first):
            assert part.first == first
            sizes = {len(each) for each in part.gradients.values()}
            assert len(sizes) == 1
            first += sizes.pop()
        parts.sort(key=lambda each: each.first)
        joined[place] = {name: torch.cat([part.gradients[name] for part in parts]) for name in parts[0].gradients}
    return joined


def assert_close(actual: Tensor, expected: Tensor, what: object) -> None:
    """Every time step by itself: a small term early on is not measured against a large one."""
    assert actual.shape == expected.shape, what
    error, size = ((each.flatten(1).abs().amax(1)) for each in (actual - expected, expected))
    assert (error <= RTOL * size + 1e-16).all(), (what, error, size)


def training_gradient(network: Network, settings, batch: Batch) -> list[dict[str, Tensor]]:
    """Of every layer, the gradient that training has for the weights themselves, parametrised or not."""
    with parametrize.cached():
        weights = [layer.weights() for layer in network.recurrent_layers]
        outputs = network(batch.inputs, batch.loss_steps).outputs
        leaves = [weight for layer in weights for weight in layer.values()]
        found = iter(torch.autograd.grad(settings.task.loss(outputs, batch).sum(), leaves, materialize_grads=True))
    return [{name: next(found) for name in layer} for layer in weights]


@models
@depths
@tasks
def test_every_term_is_the_gradient_of_one_steps_copy_of_the_weights(model, num_layers, task):
    settings = settings_of(model, task, num_layers)
    network, batch = moved(build(settings)), batch_of(settings)
    found = gathered(weight_terms(network, settings.task, batch))
    places = set()
    for index, layer, expected in run_plain(network, settings.task, batch).terms():
        loss_step = int(batch.loss_steps[index])
        places.add((loss_step, layer))
        actual = found[loss_step, layer]
        assert actual.keys() == expected.keys()
        for name, terms in actual.items():
            assert len(terms) == loss_step + 1, "a term of a source step after the loss step"
            assert terms.dtype == torch.float64
            assert_close(terms, expected[name][: loss_step + 1], (loss_step, layer, name))
            assert not expected[name][loss_step + 1 :].any()
    assert found.keys() == places


@models
@depths
@tasks
def test_the_sum_of_all_terms_is_the_gradient_of_training(model, num_layers, task):
    settings = settings_of(model, task, num_layers)
    network, batch = moved(build(settings)), batch_of(settings)
    expected = training_gradient(network, settings, batch)
    sums = [{name: torch.zeros_like(weight) for name, weight in layer.items()} for layer in expected]
    for terms in weight_terms(network, settings.task, batch):
        for name, gradients in terms.gradients.items():
            sums[terms.layer][name] += gradients.sum(0)
    whole = weight_gradients(network, settings.task, batch)
    for layer, gradients in enumerate(expected):
        assert whole[layer].keys() == gradients.keys()
        for name, gradient in gradients.items():
            for found in (sums[layer][name], whole[layer][name]):
                assert found.dtype == torch.float64
                assert torch.allclose(found, gradient, rtol=0, atol=RTOL * float(gradient.abs().max()))
            assert gradient.any() or name == "threshold"


@pytest.mark.parametrize("model", ["rnn", "gru", "lstm"])
def test_terms_of_a_network_that_reads_words(model):
    settings = plan_once("task=coconut_water", f"model={model}", "model.num_layers=2", "train.batch_size=2")
    network, batch = build(settings, replicas=2), batch_of(settings, replicas=2)
    found = gathered(weight_terms(network, settings.task, batch))
    for index, layer, expected in run_plain(network, settings.task, batch).terms():
        for name, terms in found[int(batch.loss_steps[index]), layer].items():
            assert_close(terms, expected[name][: len(terms)], (layer, name))


@pytest.mark.parametrize("at_once", [1, 2500])
def test_runs_that_fit_into_little_memory_give_the_same(monkeypatch, at_once):
    settings = settings_of("lstm", "loss at all steps", 2)
    network, batch = build(settings), batch_of(settings)
    expected = gathered(weight_terms(network, settings.task, batch))
    sums = weight_gradients(network, settings.task, batch)
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    parts = list(weight_terms(network, settings.task, batch))
    assert len(parts) > len(expected)
    for place, gradients in gathered(parts).items():
        for name, terms in gradients.items():
            assert_close(terms, expected[place][name], (place, name))
    for layer, gradients in enumerate(weight_gradients(network, settings.task, batch)):
        for name, gradient in gradients.items():
            assert torch.allclose(gradient, sums[layer][name], rtol=1e-12, atol=1e-15)


def test_outputs_that_do_not_count_have_no_terms_but_zero():
    settings = settings_of("gru", "loss at all steps")
    network, batch = build(settings), batch_of(settings)
    counted = batch.counted.clone()
    counted[3:] = False
    batch = replace(batch, counted=counted)
    found = gathered(weight_terms(network, settings.task, batch))
    for index, layer, expected in run_plain(network, settings.task, batch).terms():
        loss_step = int(batch.loss_steps[index])
        for name, terms in found.get((loss_step, layer), {}).items():
            assert_close(terms, expected[name][: loss_step + 1], (loss_step, layer, name))
            # The recurrent weights have none at the first time step, before which the state is zero.
            assert terms[int(name == "weight_hh") :].any() == (index < 3 and (loss_step > 0 or name != "weight_hh"))
    assert all((int(step), 0) in found for step in batch.loss_steps[:3])


def test_a_linear_networks_terms_are_outer_products_of_adjoint_and_state_before():
    settings = settings_of("linear_rnn", "loss at the end")
    network, batch = build(settings, replicas=1), batch_of(settings, replicas=1)
    layer = network.recurrent_layers[0]
    forward = network(batch.inputs, batch.loss_steps)
    states, matrix = forward.states[0][0].detach(), layer.weights()["weight_hh"][0].detach()
    sent = 2 * (forward.outputs - batch.targets).detach()[0, 0] / len(batch.targets[0, 0]) @ network.readout_weight[0]
    found = gathered(weight_terms(network, settings.task, batch))[5, 0]["weight_hh"]
    for lag in range(6):
        adjoint = sent @ torch.linalg.matrix_power(matrix, lag)
        before = states[5 - lag - 1, 0] if lag < 5 else torch.zeros_like(states[0, 0])
        assert torch.allclose(found[5 - lag, 0], adjoint.T @ before, rtol=1e-10, atol=1e-15)
