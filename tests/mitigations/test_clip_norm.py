import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.members import plan
from tools.training import backward_of, build, random_gradients

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.norms import replica_norms
from rnnstudy.mitigations.base import Diagnostics
from rnnstudy.mitigations.clip_norm import ClipNorm

NETWORK = build(plan("task=adding", "model=rnn"))


def clip(gradients: dict[str, torch.Tensor], max_norm: float) -> Diagnostics:
    return ClipNorm(max_norm=max_norm).after_backward(backward_of(NETWORK, gradients))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-12, 1e12), max_norm=st.floats(1e-3, 1e3))
def test_norm_is_bounded_direction_kept_and_twice_is_once(seed, scale, max_norm):
    before = random_gradients(NETWORK, seed, scale)
    after = copy.deepcopy(before)
    told = clip(after, max_norm)
    norms, clipped = replica_norms(before.values()), replica_norms(after.values())
    assert (clipped <= max_norm * (1 + 1e-12)).all()
    assert torch.allclose(told["clip_norm/raw_norm"], norms)
    assert torch.allclose(told["clip_norm/clipped_norm"], clipped, rtol=1e-9)
    assert told["clip_norm/active"].tolist() == [float(norm + 1e-6 > max_norm) for norm in norms]
    for name in before:
        for replica in range(3):
            ratio = after[name][replica] / before[name][replica]
            assert torch.allclose(ratio, told["clip_norm/coefficient"][replica], rtol=1e-9)
    again = copy.deepcopy(after)
    clip(again, max_norm)
    assert all(torch.allclose(again[name], after[name], rtol=2e-6 / max_norm + 1e-9) for name in after)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), slack=st.floats(1.001, 1e6))
def test_below_the_bound_nothing_is_touched(seed, slack):
    before = random_gradients(NETWORK, seed, 1.0)
    after = copy.deepcopy(before)
    clip(after, float(replica_norms(before.values()).max()) * slack)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_each_replica_is_clipped_as_torch_would_clip_it_alone():
    gradients = random_gradients(NETWORK, 0, 10.0)
    before = copy.deepcopy(gradients)
    clip(gradients, 2.5)
    for replica in range(3):
        alone = [torch.nn.Parameter(torch.zeros_like(gradient[replica])) for gradient in before.values()]
        for parameter, gradient in zip(alone, before.values(), strict=True):
            parameter.grad = gradient[replica].clone()
        torch.nn.utils.clip_grad_norm_(alone, 2.5)
        for gradient, wanted in zip(gradients.values(), alone, strict=True):
            assert wanted.grad is not None
            assert torch.allclose(gradient[replica], wanted.grad, rtol=1e-12)


def test_gradients_too_large_for_a_float32_norm_are_still_clipped():
    gradients = random_gradients(NETWORK, 0, 1e30, torch.float32)
    clip(gradients, 1.0)
    assert torch.allclose(replica_norms(gradients.values()), torch.ones(3, dtype=torch.float64), rtol=1e-5)


def test_a_diverging_replica_leaves_its_neighbours_alone():
    gradients = random_gradients(NETWORK, 0, 10.0)
    calm = copy.deepcopy(gradients)
    gradients["readout_bias"][1, 0] = float("nan")
    clip(gradients, 1.0)
    clip(calm, 1.0)
    for replica in (0, 2):
        assert all(torch.equal(gradients[name][replica], calm[name][replica]) for name in calm)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_bad_bounds(value):
    with pytest.raises(ConfigError, match="max_norm must be above 0"):
        ClipNorm(max_norm=value)
