"""Networks, training steps and gradients without a run folder; runs that are interrupted and resumed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tools.members import plan, run_small
from torch import Tensor

from rnnstudy.config.schema import Plan, plan_run
from rnnstudy.core.errors import ConfigError
from rnnstudy.core.seeding import replica_generators
from rnnstudy.mitigations.base import Backward, Mitigation, Moment
from rnnstudy.models.base import Network
from rnnstudy.recurrence.base import Adjoint, States
from rnnstudy.runs.folder import RunFolder
from rnnstudy.study.run.assemble import assemble, interface_of
from rnnstudy.tasks.base import Batch
from rnnstudy.training.checkpoint import Checkpoints
from rnnstudy.training.data import draw
from rnnstudy.training.loop import Outlets, Training
from rnnstudy.training.step import TrainingStep
from rnnstudy.writers.run_log import RunLog

CPU = torch.device("cpu")


def build(settings: Plan, replicas: int = 3, seed: int = 0, dtype: torch.dtype = torch.float64) -> Network:
    """The network of a plan, ready to be trained."""
    network = settings.model.build(interface_of(settings.task), replica_generators(seed, replicas, "init"), dtype)
    for mitigation in settings.mitigations:
        mitigation.prepare(network)
    return network


def step_of(settings: Plan, network: Network, seed: int = 0) -> TrainingStep:
    """The training step of a plan."""
    return TrainingStep(
        task=settings.task,
        network=network,
        mitigations=settings.mitigations,
        num_steps=settings.train.num_steps,
        seeds=range(seed, seed + network.replicas),
    )


PATIENCE = 4
"""Steps in a row without a finite gradient, after which a replica of `training_in` is given up."""

STEPS = 20
"""Optimizer steps of `training_in`."""


def training_in(folder: Path, seed: int, replicas: int, *overrides: str) -> Training:
    """Make a run that has not begun, in a new folder, with clipping and the norm of the gradient."""
    folder.mkdir()
    settings = plan(
        f"train.num_steps={STEPS}",
        f"train.max_skipped_in_a_row={PATIENCE}",
        "mitigation=[clip_norm]",
        "instrument=[grad_norm,flight_recorder]",
        *overrides,
    )
    settings = replace(settings, run=replace(settings.run, seed=seed, replicas=replicas))
    run_folder = RunFolder(folder)
    outlets = Outlets(log=RunLog(run_folder), checkpoints=Checkpoints(run_folder.checkpoints))
    return Training(assemble(settings, CPU), outlets)


def batch_of(settings: Plan, replicas: int = 3, seed: int = 0) -> Batch:
    """The first batch of a plan."""
    return draw(settings.task, settings.train.batch_size, replica_generators(seed, replicas, "train"), CPU)


def planned(config: Mapping[str, Any], **sections: Any) -> Plan | None:
    """The plan of a configuration with some sections replaced; None if it is refused."""
    try:
        return plan_run({**config, **sections})
    except ConfigError:
        return None


def moment(step: int = 0, num_steps: int = 10, seeds: Sequence[int] = (0, 1, 2)) -> Moment:
    """A moment in training."""
    return Moment(step=step, num_steps=num_steps, seeds=seeds)


def random_gradients(network: Network, seed: int, scale: float, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Normal numbers in the shapes of the parameters."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(weight.shape, generator=generator, dtype=dtype or weight.dtype) * scale
        for name, weight in network.named_parameters()
    }


def gradients_of(network: Network) -> dict[str, Tensor]:
    """Copies of the parameters' gradients."""
    return {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}


def backward_of(
    network: Network,
    gradients: dict[str, Tensor],
    when: Moment | None = None,
    states: Sequence[States] = (),
    adjoints: Sequence[dict[str, Adjoint]] = (),
) -> Backward:
    """What a backward pass that left these gradients would hand to a mitigation."""
    when = when or moment(seeds=range(network.replicas))
    return Backward(moment=when, network=network, gradients=gradients, states=states, adjoints=adjoints)


def named(settings: Plan) -> Mitigation:
    """The one mitigation of a plan."""
    (mitigation,) = settings.mitigations
    return mitigation


def content(folder: RunFolder) -> dict[str, Any]:
    """The newest checkpoint of a run."""
    loaded, _ = Checkpoints(folder.checkpoints).load()
    assert loaded is not None
    return loaded


def same_weights(one: RunFolder, other: RunFolder) -> bool:
    """Whether two runs ended with the same bits in all weights."""
    left, right = content(one)["network"], content(other)["network"]
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


def same_logs(one: RunFolder, other: RunFolder) -> bool:
    """Whether the logs of two runs are the same, byte for byte."""
    logs = ("metrics.jsonl", "curves.jsonl", "histograms.jsonl", "events.json")
    return all((one.path / name).read_bytes() == (other.path / name).read_bytes() for name in logs)


def runs_in(folder: Path) -> dict[str, RunFolder]:
    """Find the runs of a sweep by the beginning of their folders' names: model and mitigations."""
    return {path.parent.name.partition("_")[0]: RunFolder(path.parent) for path in folder.glob("*/config.yaml")}


def assert_same_runs(done: Mapping[str, RunFolder], reference: Mapping[str, RunFolder]) -> None:
    """Runs, by name, that are finished and have the same weights and logs as others, bit for bit."""
    assert done.keys() == reference.keys()
    for name, run in done.items():
        assert run.is_finished
        assert same_weights(run, reference[name])
        assert same_logs(run, reference[name])


def assert_resumed_is_undisturbed(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> None:
    """A run that is stopped after 3 and after 8 steps, and resumed, leaves what an undisturbed one leaves."""
    whole = run_small(folder / "whole", *overrides)
    step = Training._one_step
    for stop_at in (3, 8):

        def stopping(training: Training, stop_at: int = stop_at) -> None:
            step(training)
            if training.step == stop_at:
                training.save()
                raise StoppedError

        monkeypatch.setattr(Training, "_one_step", stopping)
        with pytest.raises(StoppedError):
            run_small(folder / "resumed", *overrides)
    monkeypatch.setattr(Training, "_one_step", step)
    resumed = run_small(folder / "resumed", *overrides)
    assert same_logs(resumed, whole)
    assert same_weights(whole, resumed)


class StoppedError(Exception):
    """A run was stopped on purpose."""
