"""What each initialisation makes of the weights, and what gates then do."""

import pytest
import torch
from scipy import stats
from tools.members import plan
from tools.training import build
from torch import Tensor

from rnnstudy.models.base import Network

MATRICES = ("rnn", "gru", "lstm", "skip_rnn", "residual_rnn")


def made(model: str, init: str, *settings: str, size: int = 20, seq_len: int = 30) -> Network:
    overrides = [f"model.init.{init}.{setting}" for setting in settings]
    return build(
        plan(
            *("task=adding", f"task.seq_len={seq_len}", f"model={model}", "model.num_layers=2"),
            *(f"model.hidden_size={size}", f"init=[{init}]", *overrides),
        )
    )


def blocks(network: Network, name: str) -> list[Tensor]:
    """Every gate's block of a weight, of all layers and replicas."""
    return [
        block
        for layer in network.recurrent_layers
        for weight in layer.get_parameter(name).detach()
        for block in weight.split(layer.hidden_size)
    ]


def gate_bias(network: Network, number: int) -> list[Tensor]:
    """What is added to the pre-activation of a gate, of every layer; (replica, hidden)."""
    return [
        (layer.get_parameter("bias_ih") + layer.get_parameter("bias_hh"))
        .detach()
        .chunk(layer.recurrence.gates, 1)[number]
        for layer in network.recurrent_layers
    ]


@pytest.mark.parametrize("gain", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("model", MATRICES)
def test_xavier_is_uniform_within_its_bound_gate_by_gate(model, gain):
    network = made(model, "xavier", f"gain={gain}", size=40)
    for name in ("weight_ih", "weight_hh"):
        for block in blocks(network, name):
            bound = gain * (6 / sum(block.shape)) ** 0.5
            assert block.abs().max() <= bound
            if block.numel() >= 1600:
                assert float(block.var()) == pytest.approx(bound**2 / 3, rel=0.15)
                assert float(block.abs().max()) > 0.99 * bound
                assert stats.kstest(block.flatten().numpy(), "uniform", (-bound, 2 * bound)).pvalue > 1e-4


@pytest.mark.parametrize("gain", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("model", MATRICES)
def test_orthogonal(model, gain):
    found = blocks(made(model, "orthogonal", f"gain={gain}"), "weight_hh")
    for block in found:
        assert torch.allclose(block.T @ block, gain**2 * torch.eye(20, dtype=torch.float64), atol=1e-12)
    assert len({round(float(block[0, 0]), 9) for block in found}) == len(found)


@pytest.mark.slow
def test_orthogonal_is_without_a_preferred_direction():
    """Of Haar matrices the entries have the mean 0 and the variance 1 / size, on the diagonal too."""
    entries = torch.stack(
        [block for seed in range(40) for block in blocks(build(plan(*HAAR), replicas=10, seed=10 * seed), "weight_hh")]
    )
    assert entries.mean(0).abs().max() < 5 / (5 * len(entries)) ** 0.5
    assert (entries.square().mean(0) - 1 / 5).abs().max() < 0.1


HAAR = ("task=adding", "model=rnn", "init=[orthogonal]", "model.hidden_size=5")


@pytest.mark.parametrize("scale", [1.0, 0.01])
@pytest.mark.parametrize("model", ["rnn", "irnn", "skip_rnn", "residual_rnn"])
def test_identity(model, scale):
    network = made(model, "identity", f"scale={scale}", "input_std=0.02", size=60)
    for block in blocks(network, "weight_hh"):
        assert torch.equal(block, scale * torch.eye(60, dtype=torch.float64))
    drawn = torch.cat([block.flatten() for block in blocks(network, "weight_ih")])
    assert stats.kstest(drawn.numpy() / 0.02, "norm").pvalue > 1e-3
    for name in ("bias_ih", "bias_hh"):
        assert not any(block.any() for block in blocks(network, name))


def test_the_identity_keeps_a_state_and_adds_its_inputs():
    network = made("irnn", "identity", size=4)
    layer, start = network.recurrent_layers[0], torch.rand(3, 2, 4, dtype=torch.float64)
    inputs = torch.rand(7, 3, 2, 2, dtype=torch.float64)
    positive = inputs @ layer.weights()["weight_ih"].detach().abs().mT
    with torch.no_grad():
        layer.get_parameter("weight_ih").abs_()
        states = layer(inputs, state=(start,))[0][0]
    assert torch.allclose(states, start + positive.cumsum(0), rtol=1e-12)


@pytest.mark.parametrize(
    ("variant", "activation", "deviation"), [("sigmoid", "sigmoid", 0.01), ("basic_tanh", "tanh", 0.1)]
)
def test_pascanu_draws_all_weights_normal(variant, activation, deviation):
    settings = plan(
        *("task=coconut_water", "model=rnn", f"model.nonlinearity={activation}", "model.hidden_size=60"),
        *("init=[pascanu]", f"model.init.pascanu.variant={variant}"),
    )
    network = build(settings)
    matrices = [*blocks(network, "weight_ih"), *blocks(network, "weight_hh"), *network.readout_weight.detach()]
    for block in matrices:
        assert stats.kstest(block.flatten().numpy() / deviation, "norm").pvalue > 1e-4
    biases = [*blocks(network, "bias_ih"), *blocks(network, "bias_hh"), network.readout_bias]
    assert not any(bias.any() for bias in biases)


@pytest.mark.parametrize("size", [15, 16, 50])
def test_pascanus_smart_tanh(size):
    network = made("rnn", "pascanu", size=size)
    placed = []
    for block in blocks(network, "weight_hh"):
        assert ((block != 0).sum(0) == 15).all()
        assert float(torch.linalg.eigvals(block).abs().max()) == pytest.approx(0.95, rel=1e-5)
        placed.append((block != 0).flatten().tolist())
    assert size == 15 or len({tuple(each) for each in placed}) == len(placed)
    for block in (*blocks(network, "weight_ih"), *network.readout_weight.detach()):
        assert block.abs().max() < 0.05
    biases = [*blocks(network, "bias_ih"), *blocks(network, "bias_hh"), network.readout_bias]
    assert not any(bias.any() for bias in biases)


def test_fewer_units_than_connections_are_all_connected():
    for block in blocks(made("rnn", "pascanu", size=6), "weight_hh"):
        assert (block != 0).all()
        assert float(torch.linalg.eigvals(block).abs().max()) == pytest.approx(0.95, rel=1e-5)


@pytest.mark.parametrize("radius", [1.0, 0.3, 1.7])
@pytest.mark.parametrize("model", MATRICES)
def test_spectral_radius_scales_and_nothing_more(model, radius):
    network = made(model, "spectral_radius", f"radius={radius}")
    plain = build(plan("task=adding", f"model={model}", "model.num_layers=2", "model.hidden_size=20"))
    for block, before in zip(blocks(network, "weight_hh"), blocks(plain, "weight_hh"), strict=True):
        assert float(torch.linalg.eigvals(block).abs().max()) == pytest.approx(radius, rel=1e-10)
        ratio = block / before
        assert torch.allclose(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-10)


@pytest.mark.parametrize("model", ["lstm", "gru"])
@pytest.mark.parametrize("value", [1.0, -2.0])
def test_forget_bias_is_the_sum_of_both_biases_of_the_gate(model, value):
    """torch.nn: of the LSTM the second block is the forget gate, of the GRU the update gate, the share that is kept."""
    network = made(model, "forget_bias", f"value={value}")
    plain = build(plan("task=adding", f"model={model}", "model.num_layers=2", "model.hidden_size=20"))
    for number in range(network.recurrent_layers[0].recurrence.gates):
        for bias, before in zip(gate_bias(network, number), gate_bias(plain, number), strict=True):
            assert torch.equal(bias, torch.full_like(bias, value) if number == 1 else before)


def kept(network: Network, name: str, steps: int = 12) -> Tensor:
    """What is left of a state of ones, step by step, of the lowest layer."""
    layer = network.recurrent_layers[0]
    inputs = torch.randn(steps, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = tuple(torch.ones(3, 2, layer.hidden_size, dtype=torch.float64) for _ in layer.recurrence.states)
    with torch.no_grad():
        states = layer(inputs, state=start)[0]
    return states[layer.recurrence.states.index(name)]


def silence(network: Network, *, also_matrices: bool) -> None:
    """Let nothing new into the states: no candidate, and if asked for, gates of their biases alone."""
    with torch.no_grad():
        for layer in network.recurrent_layers:
            candidate = slice(2 * layer.hidden_size, 3 * layer.hidden_size)
            for name in layer.names:
                layer.get_parameter(name)[:, candidate] = 0
                if also_matrices and name.startswith("weight"):
                    layer.get_parameter(name).zero_()


@pytest.mark.parametrize(("model", "state"), [("lstm", "c"), ("gru", "h")])
def test_with_a_huge_forget_bias_the_state_stays(model, state):
    for value, expected in ((60.0, 1.0), (-60.0, 0.0)):
        network = made(model, "forget_bias", f"value={value}")
        silence(network, also_matrices=False)
        left = kept(network, state)
        assert torch.allclose(left, torch.full_like(left, expected), atol=1e-12)


def test_a_gru_keeps_its_state_whatever_comes_in():
    left = kept(made("gru", "forget_bias", "value=60"), "h")
    assert torch.allclose(left, torch.ones_like(left), atol=1e-12)


@pytest.mark.parametrize("t_max", [2, 3, 10, 1000])
def test_chrono_of_an_lstm(t_max):
    network = made("lstm", "chrono", f"t_max={t_max}")
    for forget, let_in in zip(gate_bias(network, 1), gate_bias(network, 0), strict=True):
        assert torch.allclose(torch.sigmoid(forget) + torch.sigmoid(let_in), torch.ones_like(forget), rtol=1e-12)
        constants = 1 / (1 - torch.sigmoid(forget))
        assert (constants >= 2 * (1 - 1e-12)).all()
        assert (constants <= t_max * (1 + 1e-12)).all()


@pytest.mark.parametrize("model", ["lstm", "gru"])
def test_chronos_time_constants_are_uniform(model):
    network = made(model, "chrono", "t_max=50", size=200)
    constants = torch.cat([1 + bias.exp().flatten() for bias in gate_bias(network, 1)])
    assert stats.kstest(constants.numpy(), "uniform", (2, 48)).pvalue > 1e-3
    layers = gate_bias(network, 1)
    assert not torch.equal(layers[0], layers[1])
    assert not torch.equal(layers[0][0], layers[0][1])


@pytest.mark.parametrize(("model", "state"), [("lstm", "c"), ("gru", "h")])
def test_a_state_decays_with_its_time_constant(model, state):
    network = made(model, "chrono", "t_max=40")
    silence(network, also_matrices=True)
    left = kept(network, state)
    constants = 1 / (1 - left[0])
    assert (constants >= 2 * (1 - 1e-12)).all()
    assert (constants <= 40 * (1 + 1e-12)).all()
    assert constants.max() > 30
    for step, values in enumerate(left):
        assert torch.allclose(values, (1 - 1 / constants) ** (step + 1), rtol=1e-10)


@pytest.mark.parametrize("model", ["lstm", "gru"])
@pytest.mark.parametrize("seq_len", [2, 17, 300])
def test_chrono_takes_the_length_of_the_task(model, seq_len):
    by_task = made(model, "chrono", seq_len=seq_len)
    by_hand = made(model, "chrono", f"t_max={seq_len}", seq_len=50)
    for one, other in zip(by_task.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(one, other)


def test_chrono_takes_the_greatest_length_where_lengths_vary():
    varying = build(plan("task=adding", "task.seq_len=[5,70]", "model=lstm", "init=[chrono]"))
    fixed = build(plan("task=adding", "task.seq_len=70", "model=lstm", "init=[chrono]"))
    for one, other in zip(varying.parameters(), fixed.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("init", ["chrono", "forget_bias"])
@pytest.mark.parametrize("model", ["lstm", "gru"])
def test_gates_that_are_not_named_keep_every_bit(model, init):
    plain = build(plan("task=adding", f"model={model}", "model.num_layers=2", "model.hidden_size=20"))
    named = {0, 1} if (model, init) == ("lstm", "chrono") else {1}
    network = made(model, init)
    for name in ("bias_ih", "bias_hh"):
        gates = network.recurrent_layers[0].recurrence.gates
        for number, (one, other) in enumerate(zip(blocks(network, name), blocks(plain, name), strict=True)):
            assert torch.equal(one, other) == (number % gates not in named)
