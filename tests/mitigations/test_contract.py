"""What every mitigation must keep, found by its yaml file."""

import functools
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from tools.members import SMALL, compose, members, named_models, plan, run_small, suited_model
from tools.training import (
    assert_resumed_is_undisturbed,
    batch_of,
    build,
    moment,
    planned,
    same_weights,
    step_of,
)

from rnnstudy.config.schema import Plan, plan_run
from rnnstudy.core.errors import ConfigError
from rnnstudy.mitigations.base import Mitigation
from rnnstudy.runs import tags
from rnnstudy.tasks.base import Batch

MITIGATIONS = members("mitigation")
MODELS = members("model")
TASKS = members("task")
SHORT = ("task=adding", "task.seq_len=12", "train.eval_batch_size=4")
UNWATCHED = ("instrument=[]", "train.eval_interval=100", "train.log_interval=100", "train.checkpoint_interval=100")


@functools.cache
def with_setting(name: str, kind: Literal["off", "felt"]) -> tuple[str, ...]:
    """Choose a mitigation with the arguments that switch it off, or make it felt, and a model that it suits."""
    chosen = (*SHORT, f"model={suited_model('mitigation', name)}", f"mitigation=[{name}]")
    (member,) = plan(*chosen).mitigations
    arguments = getattr(type(member), kind)
    assert arguments
    return *chosen, *(f"mitigation.{name}.{key}={value}" for key, value in arguments.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", MITIGATIONS)
def test_off_is_the_baseline_bit_for_bit_and_on_is_not(tmp_path, name):
    baseline = run_small(tmp_path / "baseline", *SHORT, f"model={suited_model('mitigation', name)}", *UNWATCHED)
    assert same_weights(baseline, run_small(tmp_path / "off", *with_setting(name, "off"), *UNWATCHED))
    assert not same_weights(baseline, run_small(tmp_path / "on", *with_setting(name, "felt"), *UNWATCHED))


@pytest.mark.slow
@pytest.mark.parametrize("name", MITIGATIONS)
def test_interrupted_and_resumed_is_undisturbed(tmp_path, monkeypatch, name):
    assert_resumed_is_undisturbed(tmp_path, monkeypatch, *with_setting(name, "felt"))


@pytest.mark.parametrize("name", MITIGATIONS)
def test_replica_r_alone_is_replica_r_of_a_stack(name):
    """Gradients and diagnostics of two steps, one of each replica alone, to 1e-10."""
    settings = plan(*with_setting(name, "felt"))
    stack = build(settings)
    told = step_of(settings, stack)(batch_of(settings), 1)
    for replica in range(3):
        alone = build(settings, replicas=1, seed=replica)
        one = step_of(settings, alone, seed=replica)(batch_of(settings, 1, replica), 1)
        for tag, value in one.diagnostics.items():
            assert torch.allclose(value[0], told.diagnostics[tag][replica], rtol=1e-10), tag
        assert bool(one.may_step) == bool(told.may_step[replica])
        for (key, weight), other in zip(alone.named_parameters(), stack.parameters(), strict=True):
            assert torch.equal(weight[0], other[replica]), key
            assert weight.grad is not None
            assert other.grad is not None
            assert torch.allclose(weight.grad[0], other.grad[replica], rtol=1e-10, atol=1e-14), key


@pytest.mark.parametrize("name", MITIGATIONS)
def test_what_the_class_says_of_it_is_so(name):
    settings = plan(*with_setting(name, "felt"))
    (member,) = settings.mitigations
    told = step_of(settings, build(settings))(batch_of(settings), 1)
    assert (tags.CLIP_COEFFICIENT.format(mitigation=name) in told.diagnostics) == member.coefficient
    assert (member.adjoint_edit(moment()) is not None) == member.edits_adjoints()


@functools.cache
def refusals(name: str) -> dict[str, str]:
    """Model to message, of the models that a mitigation refuses."""
    config = {key: value for key, value in configuration().items() if key != "choices"}
    config["mitigation"] = {name: config["mitigation"][name]}
    told = {}
    for model in MODELS:
        try:
            plan_run({**config, "model": node("model", model)})
        except ConfigError as error:
            told[model] = str(error)
    return told


@pytest.mark.parametrize("name", MITIGATIONS)
def test_a_refusal_says_what_the_mitigation_applies_to(name):
    for message in refusals(name).values():
        assert message.startswith(f"mitigation.{name} cannot be applied to this model: it needs ")
        assert "\n" not in message
        assert named_models(message) == set(MODELS) - set(refusals(name))


@pytest.mark.slow
def test_which_models_are_refused():
    def having(*parts: str) -> set[str]:
        return {model for model in MODELS if any(part in facts(model) for part in parts)}

    everything = set(MODELS)
    expected = {
        "clip_norm": set(),
        "h_detach": everything - having("state c"),
        "weight_decay": everything - having("weight_hh", "weight_skip", "recurrent") | {"orthogonal_rnn"},
        "spectral_limit": everything - having("free weight_hh"),
        "omega": everything - (having("free weight_hh") & having("vanilla")),
    }
    assert {name: set(refusals(name)) for name in expected} == expected


def facts(model: str) -> set[str]:
    """What a model is made of."""
    made = plan(f"model={model}").model
    cell = made.recurrence()
    weights = set(cell.shapes(2, 4))
    free = {f"free {weight}" for weight in weights if weight not in made.set_by_model}
    kind = {"vanilla"} if type(cell).__name__ == "RNNRecurrence" else set()
    return weights | free | kind | {f"state {state}" for state in cell.states}


@functools.cache
def configuration() -> dict[str, Any]:
    """A small run with every mitigation, of which one is to be chosen."""
    return compose(*SMALL, f"mitigation=[{','.join(MITIGATIONS)}]", "train.batch_size=2", "train.num_steps=4")


@functools.cache
def node(group: str, name: str) -> Any:
    """The section of one member, small."""
    overrides = ["model.hidden_size=4"] if group == "model" else []
    return compose(*SMALL, f"{group}={name}", *overrides)[group]


@functools.cache
def short(task: str) -> Any:
    """The section of a task with about the shortest sequences that it has."""
    section = node("task", task)
    settings = planned(configuration(), task=section, mitigation={})
    assert settings is not None
    key = settings.task.length_field
    for length in (6, 12, 20):
        if key is not None and planned(configuration(), task={**section, key: length}, mitigation={}):
            return {**section, key: length}
    return section


@functools.cache
def bare(model: str, task: str) -> Plan:
    """A run without mitigations."""
    settings = planned(configuration(), task=short(task), model=node("model", model), mitigation={})
    assert settings is not None
    return settings


@functools.cache
def mitigation_of(name: str) -> list[Mitigation]:
    """The mitigation by its defaults."""
    return plan(f"model={suited_model('mitigation', name)}", f"mitigation=[{name}]").mitigations


@functools.cache
def batches(task: str) -> list[Batch]:
    return [batch_of(bare(MODELS[0], task), 2, seed=seed) for seed in (0, 10)]


@pytest.mark.parametrize(
    "task", [name if name == "adding" else pytest.param(name, marks=pytest.mark.slow) for name in TASKS]
)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", MITIGATIONS)
def test_trains_finitely_with_every_model_and_task_or_refuses(name, model, task):
    if model in refusals(name):
        chosen = {name: configuration()["mitigation"][name]}
        assert planned(configuration(), task=short(task), model=node("model", model), mitigation=chosen) is None
        return
    settings = replace(bare(model, task), mitigations=mitigation_of(name))
    network = build(settings, replicas=2, dtype=torch.float32)
    step, optimizer = step_of(settings, network), settings.make_optimizer(network)
    for number, batch in enumerate(batches(task)):
        result = step(batch, number)
        assert result.losses.isfinite().all()
        assert result.may_step.all()
        assert all(figures.isfinite().all() for figures in result.diagnostics.values())
        optimizer.step(result.may_step)
        network.constrain()
        for mitigation in settings.mitigations:
            mitigation.after_update(network, result.may_step)
        for key, weight in network.named_parameters():
            assert weight.isfinite().all(), key
            assert weight.grad is not None, key
            assert weight.grad.isfinite().all(), key
