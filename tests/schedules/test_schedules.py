"""Schedules of the learning rate: closed forms, torch's own schedulers, runs that go on where they were."""

import math
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tools.members import compose, members, plan, run_small
from tools.training import assert_resumed_is_undisturbed, content, same_weights

from rnnstudy.config.build import build
from rnnstudy.schedules.base import LearningRateSchedule
from rnnstudy.schedules.constant import Constant
from rnnstudy.schedules.cosine import Cosine
from rnnstudy.schedules.exponential import Exponential
from rnnstudy.schedules.linear import Linear
from rnnstudy.training.optimizer import ReplicaOptimizer

SCHEDULES = members("schedule")
SHORT = ("task=adding", "task.seq_len=9", "train.eval_batch_size=4")

steps = st.integers(1, 10_000)
shares = st.floats(0, 1)


def factors(schedule: LearningRateSchedule, num_steps: int) -> list[float]:
    return [schedule.factor(step, num_steps) for step in range(num_steps + 1)]


@given(step=st.integers(0, 10_000), num_steps=steps, final=shares)
def test_closed_forms(step, num_steps, final):
    share = min(1.0, step / num_steps)
    assert Constant().factor(step, num_steps) == 1
    assert Linear(final=final).factor(step, num_steps) == pytest.approx(1 - share + final * share, abs=1e-12)
    cosine = final + (1 - final) * math.cos(math.pi * share / 2) ** 2
    assert Cosine(final=final).factor(step, num_steps) == pytest.approx(cosine, abs=1e-12)


@given(step=st.integers(0, 10_000), rate=st.floats(1e-3, 1), interval=steps, num_steps=steps)
def test_closed_form_of_the_exponential(step, rate, interval, num_steps):
    smooth, stairs = (Exponential(rate=rate, interval=interval, stairs=stairs) for stairs in (False, True))
    expected = math.exp(math.log(rate) * step / interval)
    assert smooth.factor(step, num_steps) == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert stairs.factor(step, num_steps) == smooth.factor(step - step % interval, num_steps)


@given(warmup=st.integers(1, 200), after=st.integers(1, 200), final=shares)
def test_a_warmup_rises_in_a_straight_line_and_the_decay_begins_after_it(warmup, after, final):
    num_steps = warmup + after
    for plain, warm in (
        (Constant(), Constant(warmup_steps=warmup)),
        (Linear(final=final), Linear(final=final, warmup_steps=warmup)),
        (Cosine(final=final), Cosine(final=final, warmup_steps=warmup)),
        (Exponential(rate=0.5, interval=7), Exponential(rate=0.5, interval=7, warmup_steps=warmup)),
    ):
        rising = [warm.factor(step, num_steps) for step in range(warmup)]
        assert rising == pytest.approx([(step + 1) / warmup for step in range(warmup)])
        falling = [warm.factor(step, num_steps) for step in range(warmup, num_steps + 1)]
        assert falling == factors(plain, after)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 3, 20, 500])
def test_factors_are_shares_and_fall_after_the_warmup(name, warmup):
    node = compose(f"schedule={name}", f"schedule.warmup_steps={warmup}")["schedule"]
    schedule = build(node, LearningRateSchedule, path="schedule")
    every = factors(schedule, 20)
    assert all(0 <= factor <= 1 for factor in every)
    assert every[:warmup] == sorted(every[:warmup])
    assert every[warmup:] == sorted(every[warmup:], reverse=True)
    assert warmup > 20 or every[warmup] == 1


def test_they_are_those_of_torch():
    weight = torch.nn.Parameter(torch.zeros(1))

    def of_torch(make) -> list[float]:
        optimizer = torch.optim.SGD([weight], lr=1.0)
        scheduler, rates = make(optimizer), []
        for _ in range(21):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return rates

    torches = torch.optim.lr_scheduler
    for schedule, make in (
        (Linear(final=0.2), lambda optimizer: torches.LinearLR(optimizer, 1.0, 0.2, 20)),
        (Cosine(final=0.2), lambda optimizer: torches.CosineAnnealingLR(optimizer, 20, 0.2)),
        (Exponential(rate=0.5, interval=1), lambda optimizer: torches.ExponentialLR(optimizer, 0.5)),
        (Exponential(rate=0.5, interval=6, stairs=True), lambda optimizer: torches.StepLR(optimizer, 6, 0.5)),
    ):
        assert factors(schedule, 20) == pytest.approx(of_torch(make), rel=1e-9, abs=1e-12)


def with_setting(name: str, kind: Literal["off", "felt"]) -> tuple[str, ...]:
    """Choose a schedule with the arguments that leave the learning rate alone, or change it within a few steps."""
    arguments = getattr(type(plan(f"schedule={name}").schedule), kind)
    assert arguments
    return *SHORT, f"schedule={name}", *(f"schedule.{key}={value}" for key, value in arguments.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULES)
def test_off_is_the_constant_learning_rate_bit_for_bit_and_on_is_not(tmp_path, monkeypatch, name):
    off = run_small(tmp_path / "off", *with_setting(name, "off"))
    on = run_small(tmp_path / "on", *with_setting(name, "felt"))
    step = ReplicaOptimizer.step
    monkeypatch.setattr(ReplicaOptimizer, "step", lambda self, taking_part, factor: step(self, taking_part))
    plain = run_small(tmp_path / "plain", *SHORT)
    assert same_weights(plain, off)
    assert not same_weights(plain, on)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_each_step_has_its_learning_rate_after_an_interruption_too(tmp_path, monkeypatch, name, optimizer):
    used: list[tuple[int, float]] = []
    step = ReplicaOptimizer.step

    def watched(self: ReplicaOptimizer, taking_part: torch.Tensor, factor: float) -> None:
        step(self, taking_part, factor)
        used.append((len(used), self.optimizer.param_groups[0]["lr"]))

    monkeypatch.setattr(ReplicaOptimizer, "step", watched)
    chosen = (*with_setting(name, "felt"), f"optimizer={optimizer}", "optimizer.lr=0.02")
    assert_resumed_is_undisturbed(tmp_path, monkeypatch, *chosen)
    schedule = plan(*chosen).schedule
    expected = [0.02 * schedule.factor(step, 12) for step in range(12)]
    # The undisturbed run, then the one in three parts.
    assert [rate for _, rate in used] == pytest.approx([*expected, *expected])


def test_an_update_is_proportional_to_the_factor(tmp_path):
    """Plain gradient descent, one step: the weights move by factor times as much."""
    moved = []
    chosen = (*SHORT, "optimizer=sgd", "train.num_steps=1")
    start = content(run_small(tmp_path / "start", *SHORT, "train.num_steps=0"))["network"]
    for warmup in (0, 4):
        folder = run_small(tmp_path / str(warmup), *chosen, f"schedule.warmup_steps={warmup}")
        moved.append({name: weight - start[name] for name, weight in content(folder)["network"].items()})
    for name, step in moved[0].items():
        assert torch.allclose(moved[1][name], step / 4, atol=1e-7), name
    assert any(step.abs().max() > 1e-4 for step in moved[0].values())
