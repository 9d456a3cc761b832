import pytest
import torch
from scipy import stats
from tools.members import plan
from tools.training import backward_of, build, moment
from torch import Tensor

from rnnstudy.mitigations.grad_noise import GradNoise

SETTINGS = plan("task=adding", "model=gru", "model.hidden_size=64")


def noise(member: GradNoise, step: int = 0, seeds: tuple[int, ...] = (0, 1, 2)) -> dict[str, Tensor]:
    """What is added to gradients of zero."""
    network = build(SETTINGS, len(seeds), dtype=torch.float32)
    gradients = {name: torch.zeros_like(weight) for name, weight in network.named_parameters()}
    told = member.after_backward(backward_of(network, gradients, moment(step, seeds=seeds)))
    expected = (member.eta / (1 + step) ** member.gamma) ** 0.5
    assert told["grad_noise/std"].tolist() == pytest.approx([expected] * len(seeds))
    return gradients


@pytest.mark.parametrize("step", [0, 1, 99, 10_000])
@pytest.mark.parametrize(("eta", "gamma"), [(0.01, 0.55), (1.0, 0.55), (0.3, 0.0), (0.3, 2.0)])
def test_it_is_normal_of_the_variance_of_the_equation(step, eta, gamma):
    added = noise(GradNoise(eta=eta, gamma=gamma), step)
    values = torch.cat([values.flatten() for values in added.values()])
    assert len(values) > 30_000
    deviation = (eta / (1 + step) ** gamma) ** 0.5
    assert float(values.double().var()) == pytest.approx(deviation**2, rel=0.05)
    assert stats.kstest(values.numpy() / deviation, "norm").pvalue > 1e-3


def test_it_depends_on_a_replicas_seed_and_the_step_alone():
    stack = noise(GradNoise(), 5, (3, 4, 5))
    for replica, seed in enumerate((3, 4, 5)):
        alone = noise(GradNoise(), 5, (seed,))
        assert all(torch.equal(alone[name][0], stack[name][replica]) for name in stack)
    assert all(torch.equal(stack[name], again) for name, again in noise(GradNoise(), 5, (3, 4, 5)).items())
    later = noise(GradNoise(gamma=0), 6, (3, 4, 5))
    before = noise(GradNoise(gamma=0), 5, (3, 4, 5))
    for name in stack:
        assert not torch.equal(later[name], before[name])
        assert not torch.equal(before[name][0], before[name][1])


def test_no_two_gradients_have_the_same_noise():
    added = noise(GradNoise())
    starts = [tuple(values[0].flatten()[:4].tolist()) for values in added.values() if values[0].numel() >= 4]
    assert len(set(starts)) == len(starts) > 3


def test_it_is_added():
    network = build(SETTINGS, dtype=torch.float32)
    gradients = {name: torch.full_like(weight, 1000.0) for name, weight in network.named_parameters()}
    GradNoise().after_backward(backward_of(network, gradients))
    for name, added in noise(GradNoise()).items():
        assert torch.allclose(gradients[name] - 1000, added, atol=1e-3)
