"""Norms and histograms of the parameters' gradients against plain autograd, float64, relative error 1e-9."""

import json
import math

import numpy as np
import pytest
import torch
from reference.plain_gradients import run_plain
from tools.members import run_small
from tools.records import REPLICAS, draw, figures, network_of, record_of_step

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.histograms import HIGH, LOW
from rnnstudy.instruments.parameter_grad_norm import ParameterGradNorm
from rnnstudy.mitigations.clip_norm import ClipNorm
from rnnstudy.models.lstm import LSTM
from rnnstudy.tasks.coconut_water import CoconutWater

EDGES = np.arange(LOW, HIGH + 0.5, 0.5)


def test_norms_and_histograms_are_those_of_plain_autograd_before_any_mitigation():
    task = CoconutWater()
    network, batch = network_of(LSTM(hidden_size=4, num_layers=2), task), draw(task)
    record = record_of_step(network, batch, task, mitigations=[ClipNorm(max_norm=1e-3)])
    measured = figures(ParameterGradNorm(), record)
    for _, layer, terms in run_plain(network, task, batch).terms():
        gradients = {name: term.sum(0).flatten(1) for name, term in terms.items()}
        for name, gradient in gradients.items():
            tag = f"parameter_grad_norm/layers.{layer}.{name}"
            assert torch.allclose(measured[f"{tag}/norm"], gradient.norm(dim=1), rtol=1e-9, atol=0)
            for replica in range(REPLICAS):
                counts, _ = np.histogram(gradient[replica].abs().log10().numpy(), EDGES)
                assert measured[f"{tag}/log10"][replica].tolist() == counts.tolist()
        whole = torch.cat(list(gradients.values()), 1).norm(dim=1)
        assert torch.allclose(measured[f"parameter_grad_norm/layer_{layer}/norm"], whole, rtol=1e-9, atol=0)
    names = [name for name, _ in network.named_parameters()]
    expected = {f"parameter_grad_norm/{name}/{what}" for name in names for what in ("norm", "log10")}
    assert measured.keys() == expected | {f"parameter_grad_norm/layer_{layer}/norm" for layer in (0, 1)}


def test_in_a_run_the_norms_add_up_to_the_raw_norm(tmp_path):
    folder = run_small(tmp_path / "run", "instrument=[grad_norm,parameter_grad_norm]", "mitigation=[clip_norm]")
    row = json.loads(folder.metrics.read_text().splitlines()[0])
    norms = [norm for tag, norm in row.items() if tag.startswith("parameter_grad_norm/") and "/layer_" not in tag]
    assert len(norms) == 7
    assert math.hypot(*norms) == pytest.approx(row["grad_norm/raw"], rel=1e-6)


def test_a_bin_has_a_width():
    with pytest.raises(ConfigError, match="bin_width must be above 0, got 0"):
        ParameterGradNorm(bin_width=0.0)
