"""Update size against closed forms and plain sums over entries, float64, relative error 1e-12."""

import json
import math

import pytest
import torch
from tools.members import members, run_small
from tools.records import TASKS, damaged, draw, moved, network_of, plan_once, record_of_step

from rnnstudy.instruments.base import Update
from rnnstudy.instruments.update_size import UpdateSize
from rnnstudy.writers.base import Scalar

RTOL = 1e-12
RATE = 0.03

models = pytest.mark.parametrize("model", members("model"))


def stepped(*overrides, taking_part=(True, True, True), broken=None):
    """A network after one step of the optimizer, its weights before, and the gradients of that step."""
    settings = plan_once(*TASKS["words, loss at all steps"], *overrides)
    network, batch = moved(network_of(settings.model, settings.task)), draw(settings.task)
    network = network if broken is None else damaged(network, broken)
    record_of_step(network, batch, settings.task)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    gradients = {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}
    settings.make_optimizer(network).step(torch.tensor(taking_part))
    return network, before, gradients


def measured(network, before):
    found = UpdateSize().measure_update(Update(network=network, before=before))
    values = {}
    for tag, measurement in found.items():
        assert isinstance(measurement, Scalar)
        assert measurement.values.dtype == torch.float64
        values[tag.removeprefix("update_size/")] = measurement.values.tolist()
    return values


def size(tensors, replica):
    return math.sqrt(math.fsum(value * value for each in tensors for value in each[replica].flatten().tolist()))


def of_part(part, named):
    prefix = {"all": "", "embedding": "embedding", "readout": "readout_"}.get(part, f"layers.{part[6:]}.")
    return [value for name, value in named.items() if name.startswith(prefix)]


@models
def test_a_step_of_sgd_is_as_large_as_the_rate_times_the_gradient(model):
    network, before, gradients = stepped(
        f"model={model}", "model.num_layers=2", "optimizer=sgd", f"optimizer.lr={RATE}"
    )
    found = measured(network, before)
    assert found.keys() == {"all", "embedding", "layer_0", "layer_1", "readout"}
    for part, values in found.items():
        assert of_part(part, before)
        expected = [RATE * size(of_part(part, gradients), r) / size(of_part(part, before), r) for r in range(3)]
        # The change is what is left of two weights of ordinary size.
        assert values == pytest.approx(expected, rel=1e-10), part
        assert min(values) > 0


def test_every_part_is_the_change_of_its_own_weights_over_their_size_before():
    """An optimizer whose steps are nowhere near the gradients; weight decay counts as well."""
    network, before, _ = stepped("model=gru", "model.num_layers=2", "optimizer=adam", "optimizer.lr=0.3")
    with torch.no_grad():
        network.readout_weight.mul_(3)
    after = {name: weight.detach() for name, weight in network.named_parameters()}
    for part, values in measured(network, before).items():
        changes = [b - a for a, b in zip(of_part(part, before), of_part(part, after), strict=True)]
        expected = [size(changes, r) / size(of_part(part, before), r) for r in range(3)]
        assert values == pytest.approx(expected, rel=RTOL), part


def test_a_replica_that_skips_the_step_has_not_moved_at_all():
    network, before, _ = stepped("model=lstm", "optimizer=adam", taking_part=(True, False, True))
    for values in measured(network, before).values():
        assert values[1] == 0
        assert values[0] > 0
        assert values[2] > 0


def test_weights_that_double_have_moved_by_their_own_size_however_small_they_are():
    """Neither 1e-30 nor its square is lost, though float32 could not square it."""
    settings = plan_once(*TASKS["loss at the end"], "model=rnn")
    network = network_of(settings.model, settings.task, torch.float32)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1e-30)
        before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
        for parameter in network.parameters():
            parameter.mul_(2)
    found = measured(network, before)
    assert found.keys() == {"all", "layer_0", "readout"}
    for values in found.values():
        assert values == pytest.approx([1.0] * 3, rel=RTOL)


def test_a_replica_of_nan_weights_leaves_the_others_as_they_are():
    arguments = ("model=gru", "optimizer=adam")
    expected = measured(*stepped(*arguments)[:2])
    found = measured(*stepped(*arguments, taking_part=(True, False, True), broken=math.nan)[:2])
    for part, values in found.items():
        assert values[0::2] == expected[part][0::2]
    assert math.isnan(found["layer_0"][1])
    assert math.isnan(found["all"][1])


def test_nothing_is_measured_before_the_step():
    settings = plan_once(*TASKS["loss at the end"], "model=rnn")
    network, batch = network_of(settings.model, settings.task), draw(settings.task)
    assert UpdateSize().measure(record_of_step(network, batch, settings.task)) == {}


def logged(folder, *overrides):
    run = run_small(
        folder, "instrument=[update_size,grad_norm]", "task=adding", "task.seq_len=6", "model=rnn", *overrides
    )
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def test_a_run_logs_it_at_the_scheduled_steps_and_not_after_the_last(tmp_path):
    """12 updates, of which the first, fifth and ninth are watched: the weights after the twelfth make no step."""
    rows = logged(tmp_path, "instrument.update_size.schedule.interval=4", "instrument.grad_norm.schedule.interval=4")
    for replica in range(3):
        own = [row for row in rows if row["replica"] == replica]
        assert [row["step"] for row in own if "update_size/all" in row] == [0, 4, 8]
        assert [row["step"] for row in own if "grad_norm/raw" in row] == [0, 4, 8, 12]


def test_a_run_of_sgd_logs_rate_times_gradient_over_the_weights(tmp_path):
    """The weights of step 0 are those that the seed gives; what is logged has nine digits of float32 arithmetic."""
    rows = logged(
        tmp_path,
        *("optimizer=sgd", f"optimizer.lr={RATE}", "instrument.update_size.schedule.interval=1"),
        "mitigation=[clip_norm]",
        "mitigation.clip_norm.max_norm=0.01",
    )
    settings = plan_once("task=adding", "task.seq_len=6", "model=rnn")
    network = network_of(settings.model, settings.task, torch.float32)
    weights = dict(network.named_parameters())
    for replica in range(3):
        (row,) = [row for row in rows if row["replica"] == replica and row["step"] == 0]
        expected = RATE * row["grad_norm/clipped"] / size(list(weights.values()), replica)
        assert row["grad_norm/clipped"] == pytest.approx(0.01, rel=1e-3)
        assert row["update_size/all"] == pytest.approx(expected, rel=1e-3)
