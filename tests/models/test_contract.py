"""What every model must keep, found by its yaml file."""

import pytest
import torch
from tools.members import members, plan

from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.core.seeding import replica_generators
from rnnstudy.models.base import Interface, Model, Network
from rnnstudy.models.gru import GRU
from rnnstudy.models.lstm import LSTM
from rnnstudy.models.rnn import RNN
from rnnstudy.recurrence.base import AdjointRecorder

MODELS = members("model")
FEATURES = Interface(input_size=3, output_size=2, encoding="features", seq_len=7)
TOKENS = Interface(input_size=11, output_size=11, encoding="words", seq_len=7)
STEPS = torch.tensor([2, 6])


def make(name: str, *overrides: str) -> Model:
    return plan(f"model={name}", "model.hidden_size=6", *overrides).model


def network(model: Model, interface: Interface, replicas: int = 3, seed: int = 0) -> Network:
    return model.build(interface, replica_generators(seed, replicas, "init"), torch.float64)


def anywhere(net: Network) -> Network:
    """Move all parameters by a random amount: away from kinks, where finite differences say nothing."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64), alpha=0.3)
    return net


def inputs_for(interface: Interface, replicas: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    if interface.encoding == "words":
        return torch.randint(interface.input_size, (7, replicas, 4), generator=generator)
    return torch.randn(7, replicas, 4, interface.input_size, generator=generator, dtype=torch.float64)


def loss_of(net: Network, inputs: torch.Tensor, recorders: list[AdjointRecorder] | None = None) -> torch.Tensor:
    return net(inputs, STEPS, recorders=recorders).outputs.square().sum(dim=(0, 2, 3))


@pytest.mark.parametrize("interface", [FEATURES, TOKENS])
@pytest.mark.parametrize("name", MODELS)
def test_replica_r_alone_is_replica_r_of_a_stack(name, interface):
    model = make(name, "model.num_layers=2")
    inputs = inputs_for(interface)
    stacked = network(model, interface)
    losses = loss_of(stacked, inputs)
    losses.sum().backward()
    for replica in range(3):
        alone = network(model, interface, replicas=1, seed=replica)
        loss = loss_of(alone, inputs[:, replica : replica + 1])
        loss.sum().backward()
        assert torch.allclose(loss[0], losses[replica], rtol=1e-12)
        for (key, one), other in zip(alone.named_parameters(), stacked.parameters(), strict=True):
            assert torch.equal(one[0], other[replica]), key
            assert one.grad is not None
            assert other.grad is not None
            assert torch.allclose(one.grad[0], other.grad[replica], rtol=1e-10, atol=1e-14), key


@pytest.mark.parametrize("interface", [FEATURES, TOKENS])
@pytest.mark.parametrize("name", MODELS)
def test_parameter_gradients_agree_with_finite_differences(name, interface):
    net = anywhere(network(make(name, "model.num_layers=2"), interface))
    inputs = inputs_for(interface)
    loss_of(net, inputs).sum().backward()
    generator = torch.Generator().manual_seed(2)
    for key, parameter in net.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            values = parameter.clone()
            parameter.copy_(values + 1e-6 * direction)
            above = float(loss_of(net, inputs).sum())
            parameter.copy_(values - 1e-6 * direction)
            below = float(loss_of(net, inputs).sum())
            parameter.copy_(values)
        assert parameter.grad is not None
        slope = float((parameter.grad * direction).sum())
        assert (above - below) / 2e-6 == pytest.approx(slope, rel=1e-5, abs=1e-7), key


@pytest.mark.parametrize("name", MODELS)
def test_the_top_layers_direct_adjoint_is_what_the_readout_sends(name):
    net = network(make(name, "model.num_layers=2"), FEATURES)
    inputs = inputs_for(FEATURES)
    recorders = [AdjointRecorder(), AdjointRecorder()]
    forward = net(inputs, STEPS, recorders=recorders)
    forward.outputs.square().sum().backward()
    sent = torch.einsum("krbo,roh->krbh", 2 * forward.outputs.detach(), net.readout_weight.detach())
    hidden = forward.states[1][0][STEPS].detach().requires_grad_()
    (sent,) = torch.autograd.grad(net.recurrent_layers[1].output(hidden), hidden, sent)
    direct = recorders[1].adjoints["h"].direct
    assert torch.allclose(direct[STEPS], sent, rtol=1e-12, atol=1e-15)
    others = [t for t in range(7) if t not in STEPS.tolist()]
    assert not direct[others].any()
    assert recorders[0].adjoints["h"].direct.any()


@pytest.mark.parametrize("name", MODELS)
def test_a_nudge_of_a_lower_layers_state_moves_the_loss_by_its_adjoint(name):
    """The whole network run from time step t on; slope of the loss equals <dL/dh_t, v>, to 1e-6."""
    net = anywhere(network(make(name, "model.num_layers=2"), FEATURES))
    inputs = inputs_for(FEATURES)
    recorders = [AdjointRecorder(), AdjointRecorder()]
    states = net(inputs, STEPS, recorders=recorders)
    states.outputs[1].square().sum().backward()
    time_step, generator = 3, torch.Generator().manual_seed(3)
    for layer in range(2):
        names = list(recorders[layer].adjoints)
        for index, state in enumerate(names):
            assert net.recurrent_layers[layer].recurrence.states[index] == state
            start = [[part[time_step].detach().clone() for part in parts] for parts in states.states]
            direction = torch.randn(start[layer][index].shape, generator=generator, dtype=torch.float64)
            losses = []
            for sign in (1, -1):
                moved = [[part.clone() for part in parts] for parts in start]
                moved[layer][index] += sign * 1e-6 * direction
                losses.append(rest_of_the_loss(net, inputs[time_step + 1 :], moved))
            slope = (losses[0] - losses[1]) / 2e-6
            # At this step no loss is read, but what a lower layer sends up at the step itself is not run again.
            carried = recorders[layer].adjoints[state].carried[time_step]
            assert slope == pytest.approx(float((carried * direction).sum()), rel=1e-6, abs=1e-9)


def rest_of_the_loss(net: Network, inputs: torch.Tensor, start: list[list[torch.Tensor]]) -> float:
    hidden = inputs
    with torch.no_grad():
        for layer, state in zip(net.recurrent_layers, start, strict=True):
            hidden = layer.output(layer(hidden, state=tuple(state))[0][0])
        outputs = torch.einsum("rbh,roh->rbo", hidden[-1], net.readout_weight) + net.readout_bias[:, None]
    return float(outputs.square().sum())


@pytest.mark.parametrize(
    ("model", "reference"),
    [
        (RNN(hidden_size=5, num_layers=2), torch.nn.RNN(4, 5, num_layers=2, dtype=torch.float64)),
        (
            RNN(hidden_size=5, num_layers=2, nonlinearity="relu"),
            torch.nn.RNN(4, 5, num_layers=2, nonlinearity="relu", dtype=torch.float64),
        ),
        (GRU(hidden_size=5, num_layers=2), torch.nn.GRU(4, 5, num_layers=2, dtype=torch.float64)),
        (LSTM(hidden_size=5, num_layers=2), torch.nn.LSTM(4, 5, num_layers=2, dtype=torch.float64)),
    ],
    ids=["rnn-tanh", "rnn-relu", "gru", "lstm"],
)
def test_weights_go_to_torch_and_come_back(model, reference):
    interface = Interface(input_size=4, output_size=2, encoding="features", seq_len=7)
    net = network(model, interface)
    inputs = inputs_for(interface)
    forward = net(inputs, STEPS)
    coefficients = torch.randn(7, 4, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    (coefficients.unsqueeze(1) * forward.states[-1][0]).sum().backward()
    for replica in range(3):
        reference.load_state_dict(net.torch_state(replica))
        reference.zero_grad()
        outputs, last = reference(inputs[:, replica])
        (coefficients * outputs).sum().backward()
        assert torch.allclose(outputs, forward.states[-1][0][:, replica], rtol=1e-10, atol=1e-13)
        for index, final in enumerate(last if isinstance(last, tuple) else (last,)):
            ours = torch.stack([states[index][-1, replica] for states in forward.states])
            assert torch.allclose(final, ours, rtol=1e-10, atol=1e-13)
        for name, parameter in reference.named_parameters():
            kind, _, layer = name.rpartition("_l")
            ours = getattr(net.layers[int(layer)], kind).grad[replica]
            assert torch.allclose(parameter.grad, ours, rtol=1e-10, atol=1e-13), name

    other = network(model, interface, seed=50)
    for replica in range(3):
        other.load_torch_state(replica, net.torch_state(replica))
    assert torch.equal(other(inputs, STEPS).states[-1][0], forward.states[-1][0])


def test_weights_of_another_network_are_refused():
    net = network(LSTM(hidden_size=5), FEATURES)
    with pytest.raises(RnnstudyError, match="weight_hh_l1"):
        net.load_torch_state(0, torch.nn.LSTM(3, 5, num_layers=2).state_dict())
    with pytest.raises(RnnstudyError, match=r"weight_ih_l0 must have the shape \(20, 3\), got \(24, 3\)"):
        net.load_torch_state(0, torch.nn.LSTM(3, 6).state_dict())


CONSTANT = {"gain": 1.0, "threshold": 0.0}


@pytest.mark.parametrize(
    "overrides", [*((name,) for name in MODELS), *((name, "model.layer_norm=true") for name in ("rnn", "gru", "lstm"))]
)
def test_initialisation_is_that_of_torch_where_nothing_else_is_said(overrides):
    """Uniform in ±1/sqrt(hidden_size), but for what the model sets itself or an initialisation does."""
    model = make(*overrides, "model.hidden_size=26")
    net = network(model, FEATURES, replicas=40)
    others = {weight for init in model.init.values() for weight in init.changes} | set(model.set_by_model)
    seen = 0
    for key, parameter in ((key, parameter.detach()) for key, parameter in net.named_parameters()):
        name = key.replace(".original", "").rpartition(".")[2]
        if name in CONSTANT:
            assert torch.equal(parameter, torch.full_like(parameter, CONSTANT[name])), key
        elif not others & set(key.split(".")):
            seen += 1
            assert float(parameter.abs().max()) <= 26**-0.5, key
            # A uniform variable in ±b has the variance b^2 / 3, with a standard error of 0.9 of that / sqrt(n).
            assert float(parameter.var()) == pytest.approx(1 / 78, rel=4 / parameter.numel() ** 0.5), key
            assert not torch.equal(parameter[0], parameter[1]), key
    assert seen >= 2


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("key", ["hidden_size", "num_layers", "embedding_size"])
def test_sizes_below_one_are_refused(name, key):
    with pytest.raises(ConfigError, match=rf"model\.{key} must be at least 1, got 0"):
        make(name, f"model.{key}=0")


@pytest.mark.parametrize("name", MODELS)
def test_symbols_enter_one_hot(name):
    symbols = Interface(input_size=6, output_size=2, encoding="symbols", seq_len=7)
    features = Interface(input_size=6, output_size=2, encoding="features", seq_len=7)
    inputs = torch.randint(6, (7, 3, 4), generator=torch.Generator().manual_seed(1))
    one_hot = torch.nn.functional.one_hot(inputs, 6)
    outputs = network(make(name), symbols)(inputs, STEPS).outputs
    # Features of another type enter in the network's own.
    assert torch.equal(outputs, network(make(name), features)(one_hot, STEPS).outputs)


@pytest.mark.parametrize("encoding", ["symbols", "words"])
def test_an_embedding_of_a_size_that_is_asked_for(encoding):
    interface = Interface(input_size=6, output_size=2, encoding=encoding, seq_len=7)
    embedded = network(make("gru", "model.embedding_size=4"), interface)
    assert embedded.embedding is not None
    assert embedded.embedding.shape == (3, 6, 4)
    assert embedded.one_hot is None
    assert (network(make("gru"), interface).embedding is None) == (encoding == "symbols")


@pytest.mark.parametrize("name", MODELS)
def test_a_sequence_can_be_cut_and_gone_on_with(name):
    net = network(make(name, "model.num_layers=2"), FEATURES)
    inputs = inputs_for(FEATURES)
    whole = net(inputs, torch.arange(7))
    before = [tuple(state[3] for state in states) for states in whole.states]
    rest = net(inputs[4:], torch.arange(3), initial=before)
    assert torch.allclose(rest.outputs, whole.outputs[4:], rtol=1e-12)
