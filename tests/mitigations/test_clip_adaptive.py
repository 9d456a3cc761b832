import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.members import plan
from tools.training import backward_of, build, random_gradients
from torch import Tensor

from rnnstudy.mitigations.base import Diagnostics
from rnnstudy.mitigations.clip_adaptive import ClipAdaptive
from rnnstudy.models.base import Network

NETWORKS = {name: build(plan("task=coconut_water", f"model={name}")) for name in ("lstm", "indrnn", "orthogonal_rnn")}


def clip(network: Network, gradients: dict[str, Tensor], ratio: float) -> Diagnostics:
    return ClipAdaptive(ratio=ratio).after_backward(backward_of(network, gradients))


def units(values: Tensor) -> Tensor:
    """Rows of matrices, entries of vectors, of all replicas: (unit, entry)."""
    return values.flatten(0, 1) if values.dim() == 3 else values.reshape(-1, 1)


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-8, 1e8), ratio=st.floats(1e-3, 1e3))
def test_each_unit_is_bounded_and_keeps_its_direction(name, seed, scale, ratio):
    network = NETWORKS[name]
    before = random_gradients(network, seed, scale)
    after = copy.deepcopy(before)
    told = clip(network, after, ratio)
    clipped = total = 0
    for key, weight in network.named_parameters():
        for w, g, new in zip(units(weight.detach()), units(before[key]), units(after[key]), strict=True):
            allowed = ratio * max(float(w.norm()), 1e-3)
            if float(g.norm()) > allowed:
                assert torch.allclose(new, g * (allowed / g.norm()), rtol=1e-12)
            else:
                assert torch.equal(new, g)
            clipped += float(g.norm()) > allowed
            total += 1
    assert float(told["clip_adaptive/fraction"].mean()) == pytest.approx(clipped / total)
    again = copy.deepcopy(after)
    clip(network, again, ratio)
    assert all(torch.allclose(again[key], after[key], rtol=1e-12) for key in after)


def test_weights_at_zero_can_grow():
    network = build(plan("task=adding", "model=rnn"))
    with torch.no_grad():
        network.readout_weight.zero_()
    gradients = random_gradients(network, 0, 1.0)
    clip(network, gradients, 0.1)
    norms = gradients["readout_weight"].norm(dim=-1)
    assert torch.allclose(norms, torch.full_like(norms, 1e-4), rtol=1e-12)
