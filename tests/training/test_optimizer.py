import pytest
import torch
from tools.members import compose

from rnnstudy.config.optimizer import optimizer_factory
from rnnstudy.training.optimizer import ELEMENTWISE, ReplicaOptimizer

STEPS = 8
SKIPPED = {(0, 1), (3, 1), (4, 1), (4, 2)}
"""(step, replica) that sit out; replica 1 even the very first step."""


class Stack(torch.nn.Module):
    def __init__(self, replicas: list[int]) -> None:
        super().__init__()
        values = torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.replicas = replicas
        self.weight = torch.nn.Parameter(values[replicas].clone())
        self.bias = torch.nn.Parameter(values[replicas, :, 0].clone())

    def set_gradients(self, step: int) -> None:
        generator = torch.Generator().manual_seed(step + 1)
        values = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
        values[[replica for at, replica in SKIPPED if at == step]] = float("nan")
        self.weight.grad = values[self.replicas].clone()
        self.bias.grad = values[self.replicas, :, 1].clone()


def train(make, replicas: list[int]) -> Stack:
    module = Stack(replicas)
    optimizer: ReplicaOptimizer = make(module)
    for step in range(STEPS):
        module.set_gradients(step)
        optimizer.step(torch.tensor([(step, replica) not in SKIPPED for replica in replicas]))
    return module


@pytest.mark.parametrize("extra", [{}, {"weight_decay": 0.1}])
@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_a_replica_steps_as_if_it_were_alone(name, extra):
    momentum = {"momentum": 0.9} if name in {"SGD", "RMSprop"} else {}
    make = optimizer_factory({"_target_": f"torch.optim.{name}", "lr": 0.1, **momentum, **extra}, path="optimizer")
    stacked = train(make, [0, 1, 2])
    for replica in range(3):
        alone = train(make, [replica])
        assert torch.allclose(stacked.weight[replica], alone.weight[0], rtol=1e-12)
        assert torch.allclose(stacked.bias[replica], alone.bias[0], rtol=1e-12)
    assert stacked.weight.isfinite().all()


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_a_replica_that_always_sits_out_never_changes(name):
    make = optimizer_factory({"_target_": f"torch.optim.{name}", "weight_decay": 0.1}, path="optimizer")
    module = Stack([0, 1, 2])
    before = module.weight.detach().clone()
    optimizer = make(module)
    for step in range(3):
        module.set_gradients(step + 10)
        optimizer.step(torch.tensor([True, False, True]))
    assert torch.equal(module.weight[1], before[1])
    assert not torch.equal(module.weight[0], before[0])


def test_the_state_goes_on_after_a_checkpoint():
    make = optimizer_factory(compose()["optimizer"], path="optimizer")
    whole, halved = Stack([0, 1, 2]), Stack([0, 1, 2])
    optimizer = make(whole)
    everyone = torch.ones(3, dtype=torch.bool)
    for step in range(10, 16):
        whole.set_gradients(step)
        optimizer.step(everyone)
    optimizer = make(halved)
    for step in range(10, 16):
        if step == 13:
            state = optimizer.state()
            optimizer = make(halved)
            optimizer.load_state(state)
        halved.set_gradients(step)
        optimizer.step(everyone)
    assert torch.equal(whole.weight, halved.weight)
