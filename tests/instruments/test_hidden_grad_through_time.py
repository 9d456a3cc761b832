"""Histograms at every time step against the same counted plainly in NumPy."""

import numpy as np
import pytest
import torch
from tools.records import draw, network_of, record_of_adjoints, record_of_step

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.histograms import LOW, count_log10
from rnnstudy.instruments.hidden_grad_histogram import HiddenGradHistogram
from rnnstudy.instruments.hidden_grad_through_time import HiddenGradThroughTime
from rnnstudy.models.lstm import LSTM
from rnnstudy.tasks.copy_memory import CopyMemory
from rnnstudy.writers.base import Histogram, HistogramOverTime

TASK = CopyMemory(delay=3, num_symbols=2)
BATCH = 4


def record(num_layers: int):
    network = network_of(LSTM(hidden_size=5, num_layers=num_layers), TASK, torch.float32)
    return record_of_step(network, draw(TASK, "train", BATCH), TASK)


def counted(values: torch.Tensor, width: float) -> list[dict[float, int]]:
    """Left edges to counts, of every time step, over everything else."""
    found = []
    for entries in (values.double().numpy() * BATCH).reshape(len(values), -1):
        with np.errstate(divide="ignore"):
            logs = np.log10(np.abs(entries))
        edges, counts = np.unique(np.floor(logs[np.isfinite(logs)] / width) * width, return_counts=True)
        found.append(dict(zip(edges.tolist(), counts.tolist(), strict=True)))
    return found


@pytest.mark.parametrize("part", ["total", "direct", "carried"])
def test_every_time_step_has_the_histogram_of_its_entries(part):
    """A loss at many time steps, so that all three parts are there."""
    step = record(num_layers=1)
    measured = HiddenGradThroughTime().measure(step)[f"hidden_grad_through_time/h/layer_0/{part}"]
    assert isinstance(measured, HistogramOverTime)
    values = getattr(step.adjoints[0]["h"], part)
    assert list(measured.time_steps) == list(range(len(values)))
    found = [
        {LOW + 0.5 * place: count for place, count in enumerate(row) if count}
        for row in measured.counts.sum(0).tolist()
    ]
    assert found == counted(values, 0.5)
    assert any(found)


def test_the_lowest_and_the_top_layer_and_of_the_cell_state_the_total():
    tags = HiddenGradThroughTime().measure(record(num_layers=3))
    assert sorted(tag.removeprefix("hidden_grad_through_time/") for tag in tags) == [
        *(f"c/layer_{layer}/total" for layer in (0, 2)),
        *(f"h/layer_{layer}/{part}" for layer in (0, 2) for part in ("carried", "direct", "total")),
    ]


def test_of_a_long_sequence_some_time_steps_with_both_ends():
    values = torch.logspace(-30, -1, 250).view(-1, 1, 1, 1).repeat(1, 2, BATCH, 3) / BATCH
    (total,) = (
        measured
        for tag, measured in HiddenGradThroughTime(max_time_steps=7).measure(record_of_adjoints({"h": values})).items()
        if tag.endswith("total")
    )
    assert isinstance(total, HistogramOverTime)
    assert list(total.time_steps) == [0, 42, 83, 124, 166, 208, 249]
    places = total.counts[0].argmax(1)
    expected = [np.floor((-30 + 29 * step / 249 - LOW) / 0.5) for step in total.time_steps]
    assert np.abs(places.numpy() - expected).max() <= 1


def test_all_time_steps_together_are_what_the_histogram_over_training_counts():
    step = record(num_layers=1)
    through_time, overall = HiddenGradThroughTime().measure(step), HiddenGradHistogram().measure(step)
    for part, name in (("total", "all_steps"), ("direct", "direct"), ("carried", "carried")):
        one = through_time[f"hidden_grad_through_time/h/layer_0/{part}"]
        other = overall[f"hidden_grad_histogram/h/layer_0/{name}"]
        assert isinstance(one, HistogramOverTime)
        assert isinstance(other, Histogram)
        assert torch.equal(one.counts.sum(1), other.counts)
        assert other.counts.any()


def test_many_entries_are_counted_as_few_are():
    """More than are counted at once; twin: numpy's histogram in float64."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, 2, 16, 500, generator=generator) * 10.0 ** torch.arange(-20, 20).view(-1, 1, 1, 1)
    values[3] = 0
    values[4, 1] = torch.nan
    counts = count_log10(values, 0.5)
    edges = np.arange(LOW, 40.5, 0.5)
    for time, replica in ((0, 0), (3, 1), (4, 0), (4, 1), (25, 1), (39, 0)):
        entries = np.abs(values[time, replica].double().numpy().ravel() * 16)
        expected, _ = np.histogram(np.log10(entries[np.isfinite(entries) & (entries > 0)]), edges)
        assert counts[time, replica].tolist() == expected.tolist()


def test_bad_arguments():
    with pytest.raises(ConfigError, match="max_time_steps must be at least 2, got 1"):
        HiddenGradThroughTime(max_time_steps=1)
    with pytest.raises(ConfigError, match="bin_width must be above 0, got 0"):
        HiddenGradThroughTime(bin_width=0)
