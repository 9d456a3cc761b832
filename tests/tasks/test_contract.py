"""What every task must keep, found by its yaml file."""

import inspect
import math
from dataclasses import fields

import pytest
import torch
from tools.members import members, plan

from rnnstudy.tasks.base import Batch, Task, stack

TASKS = members("task")


def make(name: str) -> Task:
    return plan(f"task={name}").task


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(Batch))


@pytest.mark.parametrize("name", TASKS)
def test_shapes_and_types(name):
    task = make(name)
    batch = task.sample(5, generator())
    steps = len(batch.loss_steps)
    assert batch.inputs.shape[:2] == (task.facts.seq_len, 5)
    assert batch.targets.shape[:2] == batch.counted.shape == batch.answer.shape == (steps, 5)
    assert batch.informative.shape == (task.facts.seq_len, 5)
    assert batch.informative.any(0).all()
    assert batch.counted.any()
    assert batch.answer.any()
    assert set(batch.informative.any(1).nonzero().flatten().tolist()) <= set(task.facts.informative_steps)
    if task.facts.has_tokens:
        assert not batch.inputs.is_floating_point()
        assert 0 <= int(batch.inputs.min()) <= int(batch.inputs.max()) < task.facts.input_size
    else:
        assert batch.inputs.shape[2:] == (task.facts.input_size,)


@pytest.mark.parametrize("name", TASKS)
def test_samples_depend_on_the_generator_alone(name):
    task = make(name)
    torch.rand(3)
    first, again = task.sample(6, generator(1)), task.sample(6, generator(1))
    assert same(first, again)
    assert not same(first, task.sample(6, generator(2)))
    before = torch.get_rng_state()
    task.sample(6, generator(1))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", TASKS)
def test_loss_and_metrics_are_per_replica(name):
    task = make(name)
    batch = stack([task.sample(5, generator(seed)) for seed in range(3)])
    outputs = torch.randn(*batch.targets.shape[:3], task.facts.output_size, generator=generator())
    outputs[:, 1] = float("nan")
    loss, metrics = task.loss(outputs, batch), task.metrics(outputs, batch)
    assert loss.shape == (3,)
    assert loss.isfinite().tolist() == [True, False, True]
    assert torch.equal(metrics["loss"], loss) or torch.allclose(metrics["loss"], loss, equal_nan=True)
    assert not task.facts.solved.is_met(metrics)[1]
    alone = task.sample(5, generator(2))
    assert torch.allclose(task.loss(outputs[:, 2:], stack([alone])), loss[2:])


@pytest.mark.parametrize("name", TASKS)
def test_the_docstring_says_what_is_built(name):
    text = inspect.getdoc(type(make(name))) or ""
    assert "Args:" in text
    assert "References:" in text
    assert "Example" in text


@pytest.mark.parametrize("name", TASKS)
def test_facts(name):
    task = make(name)
    assert math.isfinite(task.facts.chance_loss)
    assert task.facts.chance_accuracy is None or 0 < task.facts.chance_accuracy < 1
    batch = stack([task.sample(4, generator())])
    assert task.facts.solved.metric in task.metrics(
        torch.zeros(*batch.targets.shape[:3], task.facts.output_size), batch
    )
