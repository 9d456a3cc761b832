"""Every layer of a deep network against plain unrolled autograd: adjoints and parameter gradients, to 1e-10."""

from typing import cast

import pytest
import torch
from reference.problems import RTOL, assert_near
from reference.unrolled import PlainAdjoint, Unrolled
from tools.members import members, plan
from torch import Tensor

from rnnstudy.core.seeding import replica_generators
from rnnstudy.models.base import Interface, Layer, Network
from rnnstudy.recurrence.base import AdjointRecorder, CellWeights

LAYERS, REPLICAS = 3, 2
STEPS = torch.tensor([2, 6, 8])
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def plain(net: Network, inputs: Tensor, layer: int) -> tuple[list[Tensor], dict[str, PlainAdjoint]]:
    """Gradients of one layer's parameters and adjoints of its states, by a loop over replicas, steps and layers."""
    hidden, chain = inputs, []
    for each in layers_of(net):
        weights = CellWeights(**{name: getattr(each, name) for name in NAMES})
        state = each.recurrence.zero_state(hidden, each.hidden_size)
        chain.append(Unrolled(each.recurrence, hidden, state, weights))
        hidden = chain[-1].states[0]
    outputs = torch.einsum("srbh,roh->srbo", hidden[STEPS], net.readout_weight) + net.readout_bias[:, None]
    return chain[layer].backward(outputs.square().sum(), [getattr(net.layers[layer], name) for name in NAMES])


def layers_of(net: Network) -> list[Layer]:
    """The recurrent layers, from the lowest on."""
    return [cast(Layer, each) for each in net.layers]


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("name", members("model"))
def test_every_layer(name: str, layer: int) -> None:
    """Total, direct and carried part of every state at every time step, and all weights."""
    model = plan(f"model={name}", "model.hidden_size=5", f"model.num_layers={LAYERS}").model
    interface = Interface(input_size=3, output_size=2, encoding="features")
    net = model.build(interface, replica_generators(0, REPLICAS, "init"), torch.float64)
    inputs = torch.randn(9, REPLICAS, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    recorders = [AdjointRecorder() for _ in range(LAYERS)]
    net(inputs, STEPS, recorders=recorders).outputs.square().sum().backward()
    gradients, adjoints = plain(net, inputs, layer)

    for parameter, expected in zip(NAMES, gradients, strict=True):
        assert_near(getattr(net.layers[layer], parameter).grad, expected, parameter)
    assert recorders[layer].adjoints.keys() == adjoints.keys()
    for state, expected in adjoints.items():
        for part in ("total", "direct", "carried"):
            actual = getattr(recorders[layer].adjoints[state], part)
            assert_near(actual, getattr(expected, part), f"{part} of {state}", RTOL)
