import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.members import run_small

from rnnstudy.core.errors import ConfigError
from rnnstudy.gradients.norms import replica_norms
from rnnstudy.mitigations.clip_norm import ClipNorm
from rnnstudy.training.checkpoint import Checkpoints


def random_gradients(seed: int, scale: float, dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(3, *shape, generator=generator, dtype=dtype) * scale
        for name, shape in {"a": (4, 2), "b": (5,)}.items()
    }


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-12, 1e12), max_norm=st.floats(1e-3, 1e3))
def test_norm_is_bounded_direction_kept_and_twice_is_once(seed, scale, max_norm):
    before = random_gradients(seed, scale)
    after = copy.deepcopy(before)
    clip = ClipNorm(max_norm=max_norm)
    told = clip.after_backward(after)
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
    clip.after_backward(again)
    assert all(torch.allclose(again[name], after[name], rtol=2e-6 / max_norm + 1e-9) for name in after)


def test_each_replica_is_clipped_as_torch_would_clip_it_alone():
    gradients = random_gradients(0, 10.0)
    alone = [torch.nn.Parameter(torch.zeros(4, 2)), torch.nn.Parameter(torch.zeros(5))]
    expected = []
    for replica in range(3):
        for parameter, gradient in zip(alone, gradients.values(), strict=True):
            parameter.data = parameter.data.double()
            parameter.grad = gradient[replica].clone()
        torch.nn.utils.clip_grad_norm_(alone, 2.5)
        expected.append([parameter.grad.clone() for parameter in alone if parameter.grad is not None])
    ClipNorm(max_norm=2.5).after_backward(gradients)
    for replica in range(3):
        for gradient, wanted in zip(gradients.values(), expected[replica], strict=True):
            assert torch.allclose(gradient[replica], wanted, rtol=1e-12)


def test_gradients_too_large_for_a_float32_norm_are_still_clipped():
    gradients = random_gradients(0, 1e30, torch.float32)
    ClipNorm(max_norm=1.0).after_backward(gradients)
    assert torch.allclose(replica_norms(gradients.values()), torch.ones(3, dtype=torch.float64), rtol=1e-5)


def test_a_diverging_replica_leaves_its_neighbours_alone():
    gradients = random_gradients(0, 10.0)
    calm = copy.deepcopy(gradients)
    gradients["a"][1, 0, 0] = float("nan")
    ClipNorm().after_backward(gradients)
    ClipNorm().after_backward(calm)
    for replica in (0, 2):
        assert all(torch.equal(gradients[name][replica], calm[name][replica]) for name in calm)


def test_a_bound_never_reached_is_the_baseline_bit_for_bit(tmp_path):
    plain = run_small(tmp_path / "plain")
    loose = run_small(tmp_path / "loose", "mitigation=[clip_norm]", "mitigation.clip_norm.max_norm=1e9")
    tight = run_small(tmp_path / "tight", "mitigation=[clip_norm]", "mitigation.clip_norm.max_norm=1e-3")
    weights = []
    for folder in (plain, loose, tight):
        content, _ = Checkpoints(folder.checkpoints).load()
        assert content is not None
        weights.append(content["network"])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_bad_bounds(value):
    with pytest.raises(ConfigError, match="max_norm must be above 0"):
        ClipNorm(max_norm=value)
