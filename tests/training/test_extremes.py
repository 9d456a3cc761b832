"""Explosions, each planted in one replica at one step, are found: what, where, and when."""

import math

import numpy as np
import pytest
import torch
from tools.training import PATIENCE, STEPS
from typing_extensions import override

from rnnstudy.mitigations.base import Mitigation
from rnnstudy.recurrence.base import AdjointEdit
from rnnstudy.runs import tags
from rnnstudy.runs.events import Nonfinite, read_events
from rnnstudy.training.loop import Training

STEP, TIME_STEP, REPLICA, REPLICAS = 11, 14, 5, 8
LAYERS = ("model=rnn", "model.nonlinearity=relu", "model.num_layers=2")
PARAMETERS = 11


def at(training: Training) -> torch.Tensor:
    """Infinity for the replica at the step, else 0."""
    planted = torch.zeros(REPLICAS)
    planted[REPLICA] = math.inf if training.step == STEP else 0.0
    return planted


def plant_loss(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    task = type(training.parts.task)
    loss = task.loss
    monkeypatch.setattr(task, "loss", lambda self, outputs, batch: loss(self, outputs, batch) + at(training))


def plant_output(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    network = training.parts.network
    read_out = network.read_out
    monkeypatch.setattr(network, "read_out", lambda hidden: read_out(hidden) + at(training)[:, None, None])


def plant_forward(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    network = training.parts.network
    embed = network.embed

    def embedded(inputs: torch.Tensor) -> torch.Tensor:
        found = embed(inputs).clone()
        found[TIME_STEP] += at(training)[:, None, None]
        return found

    monkeypatch.setattr(network, "embed", embedded)


class Explode(Mitigation, AdjointEdit):
    """Makes what is carried back to a time step infinite, in one layer, counted from the top."""

    def __init__(self, training: Training, from_top: int) -> None:
        self.training, self.from_top, self.seen = training, from_top, 0

    @override
    def adjoint_edit(self, moment):
        self.seen = 0
        return self

    @override
    def apply(self, carried, time_step, num_steps):
        if time_step == TIME_STEP:
            if self.seen == self.from_top:
                carried[0].add_(at(self.training)[:, None, None])
            self.seen += 1


def plant_backward(from_top: int):
    def plant(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
        exploding = [*training.parts.mitigations, Explode(training, from_top)]
        object.__setattr__(training._compute, "mitigations", exploding)

    return plant


def plant_parameter(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    bias = training.parts.network.recurrent_layers[1].get_parameter("bias_hh")
    bias.register_hook(lambda gradient: gradient + at(training)[:, None])


@pytest.mark.parametrize(
    ("plant", "kind", "parameters", "layer", "time_step"),
    [
        (plant_loss, "loss", 0, None, None),
        (plant_output, "output", PARAMETERS, None, None),
        (plant_forward, "output", PARAMETERS, 0, TIME_STEP),
        (plant_backward(0), "gradient", None, 1, TIME_STEP),
        (plant_backward(1), "gradient", None, 0, TIME_STEP),
        (plant_parameter, "gradient", 1, None, None),
    ],
)
def test_a_planted_explosion_is_found_and_its_neighbours_stay(
    start, monkeypatch, plant, kind, parameters, layer, time_step
):
    plain = start("plain", 0, REPLICAS, *LAYERS)
    plain.run()
    training = start("planted", 0, REPLICAS, *LAYERS)
    plant(training, monkeypatch)
    training.run()
    training.save()
    found = read_events(training.outlets.log._folder, REPLICAS)
    first = found.first_nonfinite[REPLICA]
    assert isinstance(first, Nonfinite)
    assert (first.step, first.kind, first.layer, first.time_step) == (STEP, kind, layer, time_step)
    if parameters is not None:
        assert len(first.parameters) == parameters
    if plant is plant_parameter:
        assert first.parameters == ("layers.1.bias_hh",)
    assert found.first_nonfinite.count(None) == REPLICAS - 1
    (event,) = [event for event in found.events if event.nonfinite]
    assert (event.replica, event.spike.step) == (REPLICA, STEP)
    assert [step.step for step in event.steps] == [STEP - 3, STEP - 2, STEP - 1, STEP]
    for one, other in zip(plain.parts.network.parameters(), training.parts.network.parameters(), strict=True):
        for replica in set(range(REPLICAS)) - {REPLICA}:
            assert torch.equal(one[replica], other[replica])


def test_extremes_are_those_of_every_step(start, monkeypatch):
    overrides = ("optimizer=sgd", "optimizer.lr=2", "instrument=[]", "mitigation.clip_norm.max_norm=0.5")
    training = start("run", 0, 3, *overrides, "train.log_interval=6")
    compute, seen = training._compute, []

    def watch(batch, step, **options):
        result = compute(batch, step, **options)
        seen.append((result.raw_norm.tolist(), result.losses.tolist()))
        return result

    monkeypatch.setattr(training, "_compute", watch)
    monkeypatch.setattr(watch, "gradients", compute.gradients, raising=False)
    training.run()
    norms, losses = (np.array([each[part] for each in seen]) for part in (0, 1))
    rows = [row for row in training.outlets.log.metrics() if row["replica"] == 1]
    logged = [row for row in rows if tags.LARGEST_NORM in row]
    assert [row["step"] for row in logged] == [0, 6, 12, 18, STEPS]
    begin = 0
    for row in logged:
        upto = slice(begin, row["step"] + 1)
        assert row[tags.LARGEST_NORM] == pytest.approx(norms[upto, 1].max(), rel=1e-8)
        assert row[tags.LARGEST_LOSS] == pytest.approx(losses[upto, 1].max(), rel=1e-8)
        assert row[tags.CLIPPED_STEPS] == (norms[upto, 1] > 0.5 - 1e-6).sum()
        begin = row["step"] + 1
    assert sum(row[tags.CLIPPED_STEPS] for row in logged) > 0


def test_a_replica_that_is_given_up_writes_its_last_entry_at_once(start):
    training = start("run", 0, 3, "train.log_interval=50")
    with torch.no_grad():
        training.parts.network.readout_bias[1] = math.nan
    training.run()
    rows = [row for row in training.outlets.log.metrics() if row["replica"] == 1]
    assert rows[-1]["step"] == PATIENCE - 1
    assert rows[-1][tags.DIVERGED] == 1
    assert sum(row.get(tags.SPIKES, 0) for row in rows) == PATIENCE
    assert math.isnan(rows[-1][tags.LARGEST_NORM])
    assert training.states.diverged_at.tolist() == [-1, 0, -1]
    others = [row for row in training.outlets.log.metrics() if row["replica"] == 0]
    assert others[-1][tags.DIVERGED] == 0
