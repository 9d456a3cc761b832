"""Networks, their gradients, and torch.nn, from Python."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tools.members import plan
from tools.training import build as build_plan

import rnnstudy as rs
from rnnstudy.core.seeding import make_generator

TASK = rs.tasks.Adding(seq_len=7)


def test_networks_are_those_that_a_run_starts_from():
    settings = plan("task=adding", "model=gru")
    built = rs.build(settings.model, settings.task, replicas=2, seed=5)
    expected = build_plan(settings, replicas=3, seed=4, dtype=torch.float32).state_dict()
    for name, weight in built.state_dict().items():
        assert torch.equal(weight, expected[name][1:])


def test_the_gradient_is_that_of_a_plain_unrolled_network_per_sequence():
    network = rs.build(rs.models.RNN(hidden_size=4), TASK, replicas=2, dtype=torch.float64)
    gradients = rs.hidden_gradients(network, TASK, batch_size=3, seed=5)
    for replica in range(2):
        batch = TASK.sample(3, make_generator(5 + replica, "probe"))
        cell = torch.nn.RNNCell(2, 4, dtype=torch.float64)
        cell.load_state_dict({name[:-3]: weight for name, weight in network.torch_state(replica).items()})
        hidden, kept = torch.zeros(3, 4, dtype=torch.float64), []
        for inputs in batch.inputs.double():
            hidden = cell(inputs, hidden)
            hidden.retain_grad()
            kept.append(hidden)
        outputs = hidden @ network.readout_weight[replica].T + network.readout_bias[replica]
        (outputs - batch.targets[0]).square().sum().backward()  # where training takes the mean over the batch
        expected = torch.stack([each.grad for each in kept if each.grad is not None])
        torch.testing.assert_close(gradients.total[:, replica], expected, rtol=1e-10, atol=1e-14)
    assert torch.equal(gradients.direct + gradients.carried, gradients.total)
    assert not gradients.direct[:-1].any()
    assert not gradients.carried[-1].any()
    torch.testing.assert_close(gradients.norms(), gradients.total.norm(dim=-1), rtol=1e-12, atol=0)


def test_every_layer_and_state_has_its_gradient_and_its_histogram():
    network = rs.build(rs.models.LSTM(hidden_size=4, num_layers=2), TASK, replicas=2)
    gradients = rs.hidden_gradients(network, TASK, batch_size=3)
    assert [list(gradients.layer(index)) for index in (0, 1)] == [["h", "c"], ["h", "c"]]
    assert torch.equal(gradients.of("h", 1).total, gradients.total)
    for layer in (0, 1):
        found = gradients.histogram("c", layer=layer, width=0.5)
        with np.errstate(divide="ignore"):
            logs = np.log10(np.abs(gradients.layer(layer)["c"].total.double().numpy()))
        for time_step, replica in ((0, 1), (6, 0)):
            expected, _ = np.histogram(logs[time_step, replica], found.edges.numpy())
            assert found.counts[time_step, replica].tolist() == expected.tolist()
        assert found.counts.sum() + sum(found.others[kind].sum() for kind in ("zero", "nan", "inf")) == logs.size
    assert gradients._repr_html_().count("<tr>") == 5


def test_what_is_not_there_is_named():
    gradients = rs.hidden_gradients(rs.build(rs.models.GRU(hidden_size=4), TASK), TASK, batch_size=1)
    with pytest.raises(rs.ConfigError, match=r"got 'c'\. Allowed: h\."):
        gradients.norms("c")
    with pytest.raises(rs.ConfigError, match="part must be one of total, direct, carried, got 'source'"):
        gradients.norms(part="source")
    with pytest.raises(rs.ConfigError, match="batch_size must be at least 1, got 0"):
        rs.hidden_gradients(rs.build(rs.models.GRU(hidden_size=4), TASK), TASK, batch_size=0)
    with pytest.raises(rs.ConfigError, match="replicas must be at least 1, got 0"):
        rs.build(rs.models.GRU(), TASK, replicas=0)


MODELS = st.sampled_from([
    (rs.models.RNN, {"nonlinearity": "tanh"}, torch.nn.RNN),
    (rs.models.RNN, {"nonlinearity": "relu"}, torch.nn.RNN),
    (rs.models.GRU, {}, torch.nn.GRU),
    (rs.models.LSTM, {}, torch.nn.LSTM),
])  # fmt: skip


@given(MODELS, st.integers(1, 6), st.integers(1, 3), st.integers(0, 2))
def test_weights_go_to_torch_and_back_bit_for_bit(which, hidden_size, num_layers, replica):
    model, options, expected = which
    model = model(hidden_size=hidden_size, num_layers=num_layers, **options)
    network = rs.build(model, TASK, replicas=3, dtype=torch.float64)
    before = torch.get_rng_state()
    module = network.to_torch(replica)
    assert torch.equal(torch.get_rng_state(), before)
    assert type(module) is expected
    batch = TASK.sample(2, make_generator(0, "test"))
    inputs = batch.inputs[:, None].expand(-1, 3, -1, -1)
    forward = network(inputs, batch.loss_steps)
    hidden, _ = module(network.embed(inputs)[:, replica])
    torch.testing.assert_close(hidden, forward.states[-1][0][:, replica], rtol=1e-10, atol=1e-13)
    outputs = torch.nn.functional.linear(hidden[-1], network.readout_weight[replica], network.readout_bias[replica])
    torch.testing.assert_close(outputs, forward.outputs[0, replica], rtol=1e-10, atol=1e-13)

    other = rs.build(model, TASK, replicas=2, seed=9, dtype=torch.float64)
    kept = other.torch_state(0)
    other.load_torch(module, replica=1)
    for name, weight in module.state_dict().items():
        assert torch.equal(weight, network.torch_state(replica)[name])
        assert torch.equal(weight, other.torch_state(1)[name])
        assert torch.equal(kept[name], other.torch_state(0)[name])


def test_torch_has_no_equivalent_of_other_cells():
    for model in (rs.models.LRU(hidden_size=4), rs.models.LSTM(layer_norm=True), rs.models.RNN(nonlinearity="sigmoid")):
        with pytest.raises(rs.ConfigError, match=r"without layer_norm; it has no \w+Recurrence\("):
            rs.build(model, TASK).to_torch()
    network = rs.build(rs.models.RNN(hidden_size=3), TASK, replicas=2)
    with pytest.raises(rs.ConfigError, match="module must be a RNN_TANH, as this network is, got a RNN_RELU"):
        network.load_torch(torch.nn.RNN(2, 3, nonlinearity="relu"))
    with pytest.raises(rs.ConfigError, match="replica must be between 0 and 1, got 2"):
        network.to_torch(2)
