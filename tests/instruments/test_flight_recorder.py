"""The steps that the flight recorder keeps, against all steps of the same run."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tools.members import plan, run_small
from tools.training import STEPS, assert_resumed_is_undisturbed

from rnnstudy.core.errors import ConfigError
from rnnstudy.instruments import flight_recorder
from rnnstudy.instruments.base import Flown
from rnnstudy.instruments.flight_recorder import FlightRecorder
from rnnstudy.runs import tags
from rnnstudy.runs.events import read_events
from rnnstudy.runs.logs import read_curves, read_metrics

CPU = torch.device("cpu")
EXPLODING = ("model=gru", "optimizer=sgd", "optimizer.lr=6", "mitigation=[]", "train.num_steps=150", "replicas=3")
EVERY = (
    "instrument=[grad_norm,hidden_grad_norm,flight_recorder]",
    "instrument.grad_norm.schedule.interval=1",
    "instrument.hidden_grad_norm.schedule.interval=1",
    "instrument.flight_recorder.factor=3",
)


def test_it_keeps_the_first_and_the_largest_spikes_with_the_steps_before(tmp_path):
    folder = run_small(tmp_path / "run", *EXPLODING, *EVERY)
    metrics, curves = read_metrics(folder.metrics, 3), read_curves(folder.curves, 3)
    found = read_events(folder, 3)
    most = 0
    for replica in range(3):
        norms = metrics[tags.RAW_NORM].of_replica(replica)
        spikes = [
            step
            for step, norm in enumerate(norms)
            if step and norm > 3 * (np.median(norms[max(0, step - 100) : step]) if step >= 10 else norms[0])
        ]
        assert metrics[tags.SPIKES].of_replica(replica).sum() == len(spikes)
        wanted = sorted({*spikes[:1], *sorted(spikes[1:], key=lambda step: -norms[step])[:2]})
        kept = [event for event in found.events if event.replica == replica]
        assert [event.spike.step for event in kept] == wanted
        most = max(most, len(spikes))
        for event in kept:
            first = event.spike.step - len(event.steps) + 1
            assert [step.step for step in event.steps] == list(
                range(max(0, event.spike.step - 3), event.spike.step + 1)
            )
            assert event.batch == event.spike.step
            for step in event.steps:
                assert step.raw_norm == pytest.approx(norms[step.step], rel=1e-8)
                for name, values in step.norms.items():
                    track = curves[f"hidden_grad_norm/{name}"]
                    assert values == pytest.approx(track.values[step.step, replica].tolist(), rel=1e-4)
            assert first >= 0
            assert set(event.spike.norms) == {f"h/layer_0/{part}" for part in ("total", "direct", "carried")}
            histogram = event.histograms["h/layer_0"]
            assert len(histogram.counts) == len(histogram.time_steps) == 23
    assert most > 4


def test_the_smallest_spike_makes_room_and_the_first_never_does():
    watcher = FlightRecorder(max_events=3).watch(1, 0, CPU)
    for step, norm in enumerate([50.0, 60.0, 30.0, 40.0, 20.0]):
        raw = torch.tensor([norm])
        flown = Flown(step=step, losses=raw, raw_norm=raw, clipped_norm=raw, adjoints=[], ends=None)
        watcher.see(flown, [True], [False])
    assert [event.spike.raw_norm for event in watcher.events()] == [50, 60, 40]


def test_a_stopped_run_keeps_what_an_undisturbed_one_keeps(tmp_path, monkeypatch):
    exploding = (*EXPLODING, *EVERY, "train.num_steps=20")
    assert_resumed_is_undisturbed(tmp_path, monkeypatch, *exploding)
    assert read_events(run_small(tmp_path / "whole", *exploding), 3).events


def test_of_a_run_in_which_every_step_spikes_few_are_computed(tmp_path, monkeypatch):
    computed = []
    norms = flight_recorder._norms
    monkeypatch.setattr(flight_recorder, "_norms", lambda adjoint: computed.append(1) or norms(adjoint))
    overrides = ("instrument=[flight_recorder]", "instrument.flight_recorder.factor=1", "train.checkpoint_interval=500")
    folder = run_small(tmp_path / "run", *overrides, "train.num_steps=150", "train.log_interval=50")
    assert read_metrics(folder.metrics, 3)[tags.SPIKES].values.sum() > 100
    # At each of four entries: three replicas, three places, three parts of the spike and the totals of three steps
    # before, of two states; at the end also the ring.
    assert len(computed) <= 4 * 3 * 3 * (3 + 3) * 2 + 3 * 4 * 2
    assert len(read_events(folder, 3).events) <= 3 * 3


def test_a_lost_replica_keeps_its_last_finite_step_and_the_first_that_is_not(start_lost):
    found = start_lost
    (event,) = [event for event in found.events if event.nonfinite]
    assert math.isfinite(event.steps[-2].loss)
    assert not math.isfinite(event.spike.loss)


@pytest.fixture
def start_lost(tmp_path):
    """A run whose replicas are all lost within a few steps."""
    lost = ("model=rnn", "model.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=1e12", "mitigation=[]", "replicas=1")
    return read_events(run_small(tmp_path / "run", *lost, f"train.num_steps={STEPS}"), 1)


def test_a_ring_beyond_the_memory_is_refused():
    with pytest.raises(ConfigError, match=r"instrument.flight_recorder.ring=100000 would keep .* GB .* shorter ring"):
        FlightRecorder(ring=100_000).watch(8, 10**9, CPU)


@pytest.mark.parametrize(
    ("argument", "wanted"),
    [("factor=0.5", "factor must be at least 1"), ("ring=0", "ring"), ("max_events=1", "max_ev")],
)
def test_bad_settings_are_refused(argument, wanted):
    with pytest.raises(ConfigError, match=wanted):
        plan("instrument=[flight_recorder]", f"instrument.flight_recorder.{argument}")


def test_events_are_what_was_written(tmp_path):
    folder = run_small(tmp_path / "run", *EXPLODING, *EVERY)
    found = read_events(folder, 3)
    assert json.loads(json.dumps(found.to_json())) == json.loads(folder.events.read_text())
    worst = found.worst()
    assert worst is not None
    assert worst.spike.raw_norm == max(event.spike.raw_norm for event in found.events)
    assert replace(found, events=()).worst() is None
