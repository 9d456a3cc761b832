"""Every instrument against the same quantity computed plainly from the record."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from reference.plain_gradients import run_plain
from tools.records import draw, figures, network_of, record_of_adjoints, record_of_step

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.histograms import LOW
from rnnstudy.instruments.base import Record
from rnnstudy.instruments.grad_norm import GradNorm
from rnnstudy.instruments.hidden_grad_histogram import HiddenGradHistogram
from rnnstudy.instruments.hidden_grad_norm import HiddenGradNorm
from rnnstudy.mitigations.clip_norm import ClipNorm
from rnnstudy.models.base import Network
from rnnstudy.models.lstm import LSTM
from rnnstudy.tasks.base import Batch
from rnnstudy.tasks.coconut_water import CoconutWater
from rnnstudy.writers.base import Curve, Histogram, Scalar

TASK = CoconutWater(lag=21)
BATCH = 4


def network_and_batch() -> tuple[Network, Batch]:
    return network_of(LSTM(hidden_size=5, num_layers=2), TASK, torch.float32), draw(TASK, "train", BATCH)


def record_one_step() -> Record:
    network, batch = network_and_batch()
    return record_of_step(network, batch, TASK, mitigations=[ClipNorm(max_norm=0.1)])


def test_hidden_grad_norm_is_the_gradient_of_each_sequences_own_loss():
    """Twin: torch.nn.LSTM cells unrolled, each sequence's loss by itself, gradients by autograd in float64."""
    record = record_one_step()
    measured = HiddenGradNorm().measure(record)
    network, batch = network_and_batch()
    network.double()
    for replica in range(3):
        norms = torch.zeros(BATCH, TASK.facts.seq_len, dtype=torch.float64)
        for place in range(BATCH):
            hidden = unrolled_top_states(network, batch.inputs[:, replica, place], replica)
            logits = network.readout_weight[replica] @ hidden[-1] + network.readout_bias[replica]
            loss = torch.nn.functional.cross_entropy(logits[None], batch.targets[:, replica, place])
            gradients = torch.autograd.grad(loss, hidden)
            norms[place] = torch.stack([gradient.norm() for gradient in gradients]).detach()
        curve = measured["hidden_grad_norm/h/layer_1/total"]
        assert isinstance(curve, Curve)
        assert torch.allclose(curve.values[replica], norms.mean(0), rtol=1e-4)


def unrolled_top_states(network: Network, tokens: torch.Tensor, replica: int) -> list[torch.Tensor]:
    assert network.embedding is not None
    cells = []
    for index in range(2):
        cell = torch.nn.LSTMCell(5, 5, dtype=torch.float64)
        weights = network.torch_state(replica)
        cell.load_state_dict({name[:-3]: value for name, value in weights.items() if name.endswith(f"_l{index}")})
        cells.append(cell)
    states = [(torch.zeros(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)) for _ in cells]
    top = []
    for token in tokens.tolist():
        value = network.embedding[replica, token].detach()
        for index, cell in enumerate(cells):
            states[index] = cell(value, states[index])
            value = states[index][0]
        top.append(value)
    return top


def test_total_is_direct_plus_carried_and_the_loss_at_the_end_reaches_the_last_step_directly():
    measured = HiddenGradNorm().measure(record_one_step())
    curves = {}
    for part in ("total", "direct", "carried"):
        curve = measured[f"hidden_grad_norm/h/layer_1/{part}"]
        assert isinstance(curve, Curve)
        curves[part] = curve.values
    assert not curves["direct"][:, :-1].any()
    assert torch.equal(curves["total"][:, -1], curves["direct"][:, -1])
    assert torch.equal(curves["total"][:, :-1], curves["carried"][:, :-1])
    assert not curves["carried"][:, -1].any()


def test_the_gradient_of_the_answer_is_measured_beside_that_of_all_outputs():
    task = CoconutWater(lag=21, target="next_word")
    network, batch = network_of(LSTM(hidden_size=5), task), draw(task, "train", BATCH)
    measured = figures(HiddenGradNorm(), record_of_step(network, batch, task))
    for part, counted in (("total", batch.counted), ("answer", batch.answer)):
        norms = 10 ** run_plain(network, task, replace(batch, counted=counted)).log10_norms(0, "c")
        assert torch.allclose(measured[f"hidden_grad_norm/c/layer_0/{part}"], norms.mean(-1).T, rtol=1e-9, atol=0)
    assert "hidden_grad_norm/h/layer_0/answer" not in HiddenGradNorm().measure(record_one_step())


def test_histogram_counts_every_entry_in_its_bin():
    values = torch.zeros(3, 2, BATCH, 5)
    values[0] = 3.16e-21 / BATCH
    values[1, 0] = 0.5 / BATCH
    values[1, 1, 0, 0] = float("nan")
    values[2, 0, 0] = float("inf")
    values[2, 1, :, 0] = 1e-41
    measured = HiddenGradHistogram(bin_width=0.5).measure(record_of_adjoints({"h": values}))
    entries = BATCH * 5

    def filled(tag: str) -> list[dict[float, int]]:
        histogram = measured[f"hidden_grad_histogram/h/layer_0/{tag}"]
        assert isinstance(histogram, Histogram)
        assert histogram.low == LOW
        return [
            {LOW + 0.5 * place: count for place, count in enumerate(row.tolist()) if count} for row in histogram.counts
        ]

    # log10 of 3.16e-21 is just below -20.5 + 1e-4, in the bin from -20.5 to -20; of 0.5 it is -0.30.
    edge = math.floor(math.log10(float(torch.tensor(3.16e-21))) / 0.5) * 0.5
    assert filled("lag_0002") == [{edge: entries}, {edge: entries}]
    assert filled("lag_0001") == [{-0.5: entries}, {}]
    lag_0 = filled("lag_0000")
    assert lag_0[0] == {}
    # 1e-41 is subnormal in float32 and has a logarithm all the same; times the batch size it is 10^-40.4.
    assert lag_0[1] == {-40.5: BATCH}
    assert filled("all_steps")[0] == {edge: entries, -0.5: entries}

    def count(kind: str) -> list[float]:
        scalar = measured[f"hidden_grad_histogram/h/layer_0/{kind}_count"]
        assert isinstance(scalar, Scalar)
        return scalar.values.tolist()

    assert count("nan") == [0, 1]
    assert count("inf") == [5, 0]
    assert count("subnormal") == [0, BATCH]
    assert count("zero") == [entries - 5, entries - 1 + entries - BATCH]


def test_entries_beside_an_edge_are_on_their_side_of_it():
    """Float32 is a little above or below a power of ten; its logarithm is taken in float64."""
    beside = torch.tensor([10.0 ** (power / 2) for power in range(-60, 61)])
    values = (beside / BATCH).view(1, 1, 1, -1).expand(1, 1, BATCH, -1)
    histogram = HiddenGradHistogram(bin_width=0.5).measure(record_of_adjoints({"h": values}))[
        "hidden_grad_histogram/h/layer_0/lag_0000"
    ]
    assert isinstance(histogram, Histogram)
    expected = Counter(math.floor((math.log10(float(value) * BATCH) - LOW) / 0.5) for value in beside / BATCH)
    found = {place: count // BATCH for place, count in enumerate(histogram.counts[0].tolist()) if count}
    assert found == dict(expected)


def test_grad_norm_is_raw_before_and_clipped_after_the_mitigations():
    record = record_one_step()
    measured = GradNorm().measure(record)
    raw, clipped = measured["grad_norm/raw"], measured["grad_norm/clipped"]
    assert isinstance(raw, Scalar)
    assert isinstance(clipped, Scalar)
    assert (raw.values > 0.1).all()
    assert torch.allclose(clipped.values, torch.full((3,), 0.1, dtype=torch.float64), rtol=1e-4)


def test_bad_arguments():
    with pytest.raises(ConfigError, match="num_lags must be at least 2, got 1"):
        HiddenGradHistogram(num_lags=1)
    with pytest.raises(ConfigError, match="bin_width must be above 0, got 0"):
        HiddenGradHistogram(bin_width=0.0)
