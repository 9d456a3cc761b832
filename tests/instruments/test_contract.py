"""What every instrument promises, whichever it is: found by its yaml, tried on records and in runs."""

import copy
import functools
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tools.members import members, run_small
from tools.records import (
    REPLICAS,
    TASKS,
    damaged,
    draw,
    figures,
    moved,
    network_of,
    plan_once,
    record_of_step,
)
from tools.training import assert_resumed_is_undisturbed, content

from rnnstudy.config.folder import conf_folder
from rnnstudy.instruments.base import Instrument, Record, Update
from rnnstudy.report.compare import Request, compare
from rnnstudy.runs.collection import read_sweep
from rnnstudy.runs.folder import RunFolder
from rnnstudy.writers.base import Curve, Entry, Histogram, HistogramOverTime, Measurements, Scalar
from rnnstudy.writers.tensorboard import TensorBoard

WATCHERS = ["flight_recorder"]
"""Instruments that watch every step, and measure nothing on a schedule."""

NAMES = [name for name in members("instrument") if name not in WATCHERS]


def asked_every(name: str, interval: int, num_steps: int = 400) -> str:
    """The override that asks an instrument at regular steps, whichever schedule its yaml has."""
    schedule = yaml.safe_load((conf_folder() / "instrument" / f"{name}.yaml").read_text())[name]["schedule"]
    if "steps" in schedule:
        return f"instrument.{name}.schedule.steps={list(range(0, num_steps, interval))}"
    return f"instrument.{name}.schedule.interval={interval}"


EVERYTHING = (f"instrument=[{','.join([*NAMES, *WATCHERS])}]", *(asked_every(name, 1, 20) for name in NAMES))
"""All instruments at every step."""

SHORT = ("model.hidden_size=4", "train.batch_size=3", "train.num_steps=9")
ADDING = ("task=adding", "task.seq_len=5")

COUNTED = (Histogram, HistogramOverTime)

instruments = pytest.mark.parametrize("name", NAMES)
models = pytest.mark.parametrize("model", members("model"))


def instrument_of(name) -> Instrument:
    (instrument,) = plan_once(f"instrument=[{name}]").instruments
    return instrument


@functools.cache
def record_with(model, task="loss at the end", value=None, dtype=torch.float32) -> Record:
    """A real step of a network of two layers, in which a weight of replica 1 may have a given value."""
    settings = plan_once(*TASKS[task], f"model={model}", "model.num_layers=2", "model.hidden_size=4")
    network = moved(network_of(settings.model, settings.task, dtype))
    network = network if value is None else damaged(network, value)
    return record_of_step(network, draw(settings.task, "train"), settings.task, probe=draw(settings.task))


@functools.cache
def suited(name: str) -> str:
    """Find a model that the instrument has figures of, the LSTM if it can be."""
    return next(model for model in ("lstm", *members("model")) if all_measured(instrument_of(name), record_with(model)))


def update_of(record: Record) -> Update:
    """What a step against the gradient makes of the network of a record."""
    moved_on = copy.deepcopy(record.network)
    before = {name: weight.detach() for name, weight in record.network.named_parameters()}
    gradients = {name: weight.grad for name, weight in record.network.named_parameters()}
    with torch.no_grad():
        for name, weight in moved_on.named_parameters():
            gradient = gradients[name]
            if gradient is not None:
                weight.sub_(gradient, alpha=0.1)
    return Update(network=moved_on, before=before)


def all_measured(instrument: Instrument, record: Record) -> Measurements:
    """Before the step and of it."""
    measured = dict(instrument.measure(record))
    if instrument.sees_updates:
        measured |= instrument.measure_update(update_of(record))
    return measured


def values_of(measurement):
    return measurement.counts if isinstance(measurement, COUNTED) else measurement.values


@instruments
@pytest.mark.parametrize("task", TASKS)
def test_tags_begin_with_the_instruments_name_and_figures_have_the_replicas(name, task):
    instrument, record = instrument_of(name), record_with(suited(name), task)
    measured = all_measured(instrument, record)
    assert measured
    for tag, measurement in measured.items():
        assert tag.startswith(f"{name}/")
        values = values_of(measurement)
        assert len(values) == REPLICAS
        assert values.ndim == {Scalar: 1, Curve: 2, Histogram: 2, HistogramOverTime: 3}[type(measurement)]
        assert not values.requires_grad
        if not isinstance(measurement, COUNTED):
            assert values.dtype == torch.float64


@instruments
def test_replicas_have_figures_of_their_own(name):
    """At least one figure of every instrument differs between any two networks."""
    measured = all_measured(instrument_of(name), record_with(suited(name)))
    for one, other in ((0, 1), (1, 2)):
        assert any(not torch.equal(values_of(each)[one], values_of(each)[other]) for each in measured.values())


PARTS = {
    "the training batch": ("batch", "adjoints", "answer_adjoints", "gradients", "raw_norm", "clipped_norm"),
    "the probe": ("probe",),
}
"""Fields of a record by what an instrument looks at, besides the weights."""


@instruments
def test_nothing_changes_its_figures_but_what_it_looks_at(name):
    instrument, record = instrument_of(name), record_with(suited(name))
    other = record_of_step(copy.deepcopy(record.network), draw(record.task, "other"), record.task)
    measured = instrument.measure(record)
    for part, names in PARTS.items():
        found = instrument.measure(replace(record, **{each: getattr(other, each) for each in names}))
        same = all(torch.equal(values_of(each), values_of(found[tag])) for tag, each in measured.items())
        assert same == (part != instrument.looks_at), part


@instruments
def test_an_instrument_is_cheap_or_expensive_and_an_expensive_one_is_asked_rarely(name):
    instrument = instrument_of(name)
    assert instrument.tier in {"cheap", "expensive"}
    asked = sum(instrument.schedule.is_due(step) for step in range(10_000))
    assert instrument.schedule.is_due(0)
    assert asked <= (10 if instrument.tier == "expensive" else 100)


def rectifies(model: str) -> bool:
    """Return whether units that are off have slopes of exactly zero, whose logarithm is -inf."""
    return "relu" in getattr(plan_once(f"model={model}").model.recurrence(), "nonlinearity", "")


@instruments
@models
def test_figures_of_a_healthy_network_are_finite(name, model):
    for tag, measurement in all_measured(instrument_of(name), record_with(model)).items():
        values = values_of(measurement)
        assert not values.isnan().any(), tag
        assert rectifies(model) or values.isfinite().all(), tag


@instruments
@models
@pytest.mark.parametrize(
    "value", [math.nan, *(pytest.param(each, marks=pytest.mark.slow) for each in (math.inf, 1e30))]
)
def test_a_replica_that_has_diverged_raises_nothing_and_leaves_the_others_figures(name, model, value):
    """To 1e-5: products of matrices of several replicas may round otherwise beside other numbers."""
    healthy = all_measured(instrument_of(name), record_with(model))
    broken = all_measured(instrument_of(name), record_with(model, value=value))
    for tag, measurement in broken.items():
        found, expected = (values_of(each)[0::2] for each in (measurement, healthy[tag]))
        assert torch.allclose(found.double(), expected.double(), rtol=1e-5, atol=1e-6, equal_nan=True), tag


def numpy_stream() -> str:
    return str(np.random.get_state(legacy=False))  # noqa: NPY002 - read, to see it unchanged


@instruments
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_measuring_changes_neither_what_it_is_shown_nor_any_random_stream(name, dtype):
    instrument, record = instrument_of(name), record_with.__wrapped__("lstm", "words, loss at all steps", dtype=dtype)
    batches = [record.batch, record.probe]

    def shown():
        state = {
            f"{kind} {key}": value
            for key, weight in record.network.named_parameters()
            for kind, value in (("weight", weight.detach()), ("gradient", weight.grad))
        }
        for place, batch in enumerate(batches):
            state |= {f"batch {place} {key}": each for key, each in vars(batch).items()}
        for layer, adjoints in enumerate(record.adjoints):
            for key, adjoint in adjoints.items():
                state |= {f"{key} {layer} total": adjoint.total, f"{key} {layer} direct": adjoint.direct}
                state |= {f"{key} {layer} norms": record.norms[layer][key]}
        return {key: each for key, each in state.items() if each is not None}

    before = {key: each.clone() for key, each in shown().items()}
    gradients = [weight.grad for weight in record.network.parameters()]
    stream, of_numpy = torch.get_rng_state(), numpy_stream()
    instrument.measure(record)
    assert all(weight.grad is kept for weight, kept in zip(record.network.parameters(), gradients, strict=True))
    assert all(weight.requires_grad and weight.is_leaf for weight in record.network.parameters())
    assert torch.is_grad_enabled()
    after = shown()
    assert after.keys() == before.keys()
    for key, each in after.items():
        assert torch.equal(each, before[key]), key
    assert torch.equal(torch.get_rng_state(), stream)
    assert numpy_stream() == of_numpy


def test_the_order_of_the_instruments_does_not_matter():
    forward, backward = (record_with.__wrapped__("lstm") for _ in range(2))
    found = {name: figures(instrument_of(name), forward) for name in NAMES}
    for name in reversed(NAMES):
        for tag, values in figures(instrument_of(name), backward).items():
            assert torch.equal(values, found[name][tag]), tag


def checkpoints_agree(one: RunFolder, other: RunFolder) -> bool:
    """Return whether two runs agree but for the time, the lengths of the logs and what instruments keep."""
    left, right = content(one), content(other)
    compared = left.keys() - {"seconds", "log", "watchers"}
    return left.keys() == right.keys() and all(same(left[key], right[key]) for key in compared)


def same(left, right) -> bool:
    """Bit for bit, at any depth."""
    if isinstance(left, torch.Tensor):
        return torch.equal(left.nan_to_num(nan=-7.5) if left.is_floating_point() else left, same_form(right))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(same(*pair) for pair in zip(left, right, strict=True))
    return left == right


def same_form(right):
    return right.nan_to_num(nan=-7.5) if right.is_floating_point() else right


def rows_of(run: RunFolder) -> dict[tuple[int, int], dict[str, float]]:
    return {(row["step"], row["replica"]): row for row in map(json.loads, run.metrics.read_text().splitlines())}


def assert_observed_is_unobserved(folder: Path, *overrides: str) -> dict[tuple[int, int], dict[str, float]]:
    watched = run_small(folder / "watched", *SHORT, *EVERYTHING, *overrides)
    bare = [override for override in overrides if not override.startswith("instrument.")]
    blind = run_small(folder / "blind", *SHORT, "instrument=[]", *bare)
    assert checkpoints_agree(watched, blind)
    seen, unseen = rows_of(watched), rows_of(blind)
    assert unseen
    for place, row in unseen.items():
        for tag, figure in row.items():
            assert seen[place][tag] == pytest.approx(figure, rel=0, abs=0, nan_ok=True), (place, tag)
    measured = {tag.split("/")[0] for row in seen.values() for tag in row}
    measured |= {json.loads(line)["tag"].split("/")[0] for line in watched.curves.read_text().splitlines()}
    measured |= {json.loads(line)["tag"].split("/")[0] for line in watched.histograms.read_text().splitlines()}
    model = next((each for each in overrides if each.startswith("model=")), "model=lstm").partition("=")[2]
    assert measured >= {name for name in NAMES if all_measured(instrument_of(name), record_with(model))}
    assert not set(NAMES) & {tag.split("/")[0] for row in unseen.values() for tag in row}
    assert blind.curves.stat().st_size == 0
    return seen


@pytest.mark.slow
@models
def test_the_observer_changes_nothing(tmp_path, model):
    assert_observed_is_unobserved(tmp_path, *ADDING, f"model={model}", "model.num_layers=2")


@pytest.mark.parametrize(
    "overrides",
    [
        ("model=lstm", "mitigation=[clip_adjoint,truncated_bptt]", "mitigation.truncated_bptt.steps=3"),
        ("model=gru", "task.seq_len=[4,6]"),
        pytest.param(("mitigation=[clip_adjoint]", "mitigation.clip_adjoint.limit=0.01"), marks=pytest.mark.slow),
        pytest.param(("mitigation=[truncated_bptt]", "mitigation.truncated_bptt.steps=2"), marks=pytest.mark.slow),
        pytest.param(("task.seq_len=[50,60]",), marks=pytest.mark.slow),
        pytest.param(("task.seq_len=[4,9]", "mitigation=[h_detach,grad_noise]"), marks=pytest.mark.slow),
        pytest.param(("model=rnn", "mitigation=[omega,clip_norm]"), marks=pytest.mark.slow),
        # Every replica diverges.
        pytest.param(("model=linear_rnn", "optimizer=sgd", "optimizer.lr=1e20"), marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
def test_the_observer_changes_nothing_beside_mitigations_and_where_lengths_vary(tmp_path, overrides):
    assert_observed_is_unobserved(tmp_path, *ADDING, *overrides)


@pytest.mark.slow
def test_the_observer_changes_nothing_where_replicas_stop_out_of_schedule(tmp_path):
    """A replica that has solved the task is measured once more, whatever the schedules say."""
    arguments = ("model=gru", "model.hidden_size=32", "optimizer.lr=0.01", "train.batch_size=32")
    rarer = [asked_every(name, 70) for name in NAMES]
    seen = assert_observed_is_unobserved(tmp_path, *arguments, "train.num_steps=400", *rarer)
    last = {replica: step for step, replica in seen}
    assert any(step % 70 for step in last.values())


@pytest.mark.slow
@pytest.mark.parametrize("lengths", ["5", "[4,6]"])
def test_a_run_that_was_interrupted_leaves_the_same_logs_with_all_instruments(tmp_path, monkeypatch, lengths):
    expensive = [name for name in NAMES if instrument_of(name).tier == "expensive"]
    rarer = [asked_every(name, 4) for name in expensive]
    lstm = ("model=lstm", f"task.seq_len={lengths}")
    assert_resumed_is_undisturbed(tmp_path, monkeypatch, *SHORT, *ADDING, *EVERYTHING, *rarer, *lstm)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with every instrument, in which a learning rate of 1e20 makes gradients vanish, overflow and be NaN."""
    folder = tmp_path_factory.mktemp("study") / "watched"
    return run_small(folder, *SHORT, *ADDING, *EVERYTHING, "model=linear_rnn", "optimizer=sgd", "optimizer.lr=1e20")


def test_a_run_with_every_instrument_reads_back_and_compares(watched):
    stream = io.StringIO()
    page = compare(Request(directories=(watched.path.parent,)), Console(file=stream, width=100))
    assert page.exists()
    assert "diverged" in page.read_text() or "div." in stream.getvalue()
    (read,) = read_sweep(watched.path.parent).runs
    logged = {tag for row in rows_of(watched).values() for tag in row} - {"step", "replica"}
    assert read.metrics.keys() == logged
    curves = [json.loads(line) for line in watched.curves.read_text().splitlines()]
    assert read.curves.keys() == {curve["tag"] for curve in curves}
    figures_of_all = [value for curve in curves for value in curve["values"]]
    assert any(math.isnan(value) for value in figures_of_all)


def test_tensorboard_shows_a_scalar_of_every_instrument_that_has_one(watched):
    events = EventAccumulator(str(watched.tensorboard))
    events.Reload()
    shown = events.Tags()
    scalars, histograms, images = (
        {tag.split("/")[0] for tag in found}
        for found in (shown["scalars"], events.PluginTagToContent("histograms"), shown["images"])
    )
    logged = {tag.split("/")[0] for row in rows_of(watched).values() for tag in row} & set(NAMES)
    assert logged <= scalars
    assert "hidden_grad_histogram" in histograms
    assert "hidden_grad_norm" in images


EXTREMES = (math.nan, -math.inf, math.inf, 0.0, 1e300, -1e-300, 1.0)


def shown_by_tensorboard(folder: Path, pairs: list[tuple[float, float]]) -> list[float]:
    """What it shows of two replicas with these figures, in scalars; in curves it has to take them too."""
    writer = TensorBoard(folder)
    replicas = torch.ones(2, dtype=torch.bool)
    for step, pair in enumerate(pairs):
        values = torch.tensor(pair, dtype=torch.float64)
        rows = values.abs()[:, None].expand(2, 3)
        measured = {"x/figure": Scalar(values=values), "x/total": Curve(values=rows), "x/other": Curve(values=-rows)}
        writer.write(step, {tag: Entry(measured=each, replicas=replicas) for tag, each in measured.items()})
    writer.close()
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    assert "x/total/heatmap" in events.Tags()["images"]
    return [event.value for event in events.Scalars("x/figure")]


def test_tensorboard_takes_any_figure_there_is(tmp_path):
    """Warnings are errors here; the median of two replicas, for every pair of extreme figures that has one."""
    pairs = [(one, other) for one in EXTREMES for other in EXTREMES if not one == -other == math.inf]
    pairs.remove((-math.inf, math.inf))
    shown = shown_by_tensorboard(tmp_path, pairs)
    for (one, other), median in zip(pairs, shown, strict=True):
        with np.errstate(all="ignore"):
            expected = float(np.float32((one + other) / 2))
        assert median == pytest.approx(expected, rel=1e-6, nan_ok=True), (one, other)


def test_tensorboard_takes_both_infinities_at_once(tmp_path):
    (shown,) = shown_by_tensorboard(tmp_path, [(-math.inf, math.inf)])
    assert math.isnan(shown)
