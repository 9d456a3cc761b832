"""Every layer of a deep network against plain unrolled autograd: adjoints and parameter gradients, to 1e-10."""

import pytest
import torch
from reference.problems import RTOL, assert_near
from reference.unrolled import PlainAdjoint, Unrolled
from tools.members import members, plan
from torch import Tensor

from rnnstudy.core.seeding import replica_generators
from rnnstudy.models.base import Interface, Network
from rnnstudy.recurrence.base import AdjointRecorder

LAYERS, REPLICAS = 3, 2
STEPS = torch.tensor([2, 6, 8])

VARIANTS = [
    *(("model=rnn", f"model.nonlinearity={name}", "model.layer_norm=true") for name in ("tanh", "modrelu")),
    ("model=gru", "model.layer_norm=true"),
    ("model=lstm", "model.layer_norm=true"),
    ("model=orthogonal_rnn", "model.orthogonal_map=matrix_exp"),
    ("model=lru", "model.gated=false"),
]
"""Choices of members, other than by default, that change what a layer computes."""


def plain(net: Network, inputs: Tensor, layer: int) -> tuple[dict[str, Tensor], dict[str, PlainAdjoint]]:
    """Gradients of one layer's parameters and adjoints of its states, by a loop over replicas, steps and layers."""
    hidden, chain = inputs, []
    for each in net.recurrent_layers:
        state = each.recurrence.zero_state(hidden, each.hidden_size)
        chain.append(Unrolled(each.recurrence, hidden, state, each.weights()))
        hidden = each.output(chain[-1].states[0])
    outputs = torch.einsum("srbh,roh->srbo", hidden[STEPS], net.readout_weight) + net.readout_bias[:, None]
    parameters = dict(net.recurrent_layers[layer].named_parameters())
    gradients, adjoints = chain[layer].backward(outputs.square().sum(), list(parameters.values()))
    return dict(zip(parameters, gradients, strict=True)), adjoints


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("overrides", [*((f"model={name}",) for name in members("model")), *VARIANTS], ids=" ".join)
def test_every_layer(overrides: tuple[str, ...], layer: int) -> None:
    """Total, direct and carried part of every recorded state at every time step, and all parameters."""
    model = plan(*overrides, "model.hidden_size=6", f"model.num_layers={LAYERS}").model
    interface = Interface(input_size=3, output_size=2, encoding="features", seq_len=9)
    net = model.build(interface, replica_generators(0, REPLICAS, "init"), torch.float64)
    inputs = torch.randn(9, REPLICAS, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    recorders = [AdjointRecorder() for _ in range(LAYERS)]
    net(inputs, STEPS, recorders=recorders).outputs.square().sum().backward()
    gradients, adjoints = plain(net, inputs, layer)

    parameters = dict(net.recurrent_layers[layer].named_parameters())
    assert parameters.keys() == gradients.keys()
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert_near(parameter.grad, gradients[name], name)
    assert recorders[layer].adjoints.keys() == adjoints.keys()
    for state, expected in adjoints.items():
        for part in ("total", "direct", "carried"):
            actual = getattr(recorders[layer].adjoints[state], part)
            assert_near(actual, getattr(expected, part), f"{part} of {state}", RTOL)
