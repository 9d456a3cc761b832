"""What every initialisation must keep, found by its yaml file, with every model."""

import functools

import pytest
import torch
from tools.members import members, named_models, plan, suited_model
from tools.training import build
from torch import Tensor

from rnnstudy.config.schema import Plan
from rnnstudy.core.errors import ConfigError
from rnnstudy.models.base import Network

INITS = members("init")
MODELS = members("model")


def chosen(init: str, model: str, *overrides: str) -> Plan:
    return plan(*overrides, "task=adding", f"model={model}", "model.num_layers=2", f"init=[{init}]")


@functools.cache
def refusals() -> dict[tuple[str, str], str]:
    """Initialisation and model to message, of the pairs that are refused."""
    told = {}
    for init in INITS:
        for model in MODELS:
            try:
                chosen(init, model)
            except ConfigError as error:
                told[init, model] = str(error)
    return told


def accepted() -> list[tuple[str, str]]:
    return [(init, model) for init in INITS for model in MODELS if (init, model) not in refusals()]


@pytest.mark.slow
def test_a_pair_is_refused_exactly_if_the_cell_does_not_suit_or_the_model_sets_the_weights():
    for init in INITS:
        (member,) = chosen(init, suited_model("init", init)).model.init.values()
        for model in MODELS:
            made = plan(f"model={model}").model
            fits = member.suits(made.recurrence()) and not set(member.changes) & set(made.set_by_model)
            assert ((init, model) not in refusals()) == fits, (init, model)


def test_who_suits_whom():
    def having(part: str) -> set[str]:
        models = {name: plan(f"model={name}").model for name in MODELS}
        return {
            name
            for name, model in models.items()
            if part in model.recurrence().shapes(2, 2) and part not in model.set_by_model
        }

    matrices = having("weight_hh")
    gated = {name for name in matrices if plan(f"model={name}").model.recurrence().gates > 1}
    expected = dict.fromkeys(("xavier", "orthogonal", "spectral_radius"), matrices)
    expected |= {"chrono": gated, "forget_bias": gated, "identity": matrices - gated, "pascanu": {"rnn"}}
    assert {init: {model for model in MODELS if (init, model) not in refusals()} for init in expected} == expected


def test_a_refusal_is_one_line_that_says_what_it_applies_to():
    for (init, model), message in refusals().items():
        assert message.startswith(f"model.init.{init} cannot be applied to this model: it "), message
        assert "\n" not in message
        assert named_models(message) == {other for other in MODELS if (init, other) not in refusals()}, (init, model)
    assert "gates, whose biases set time constants" in refusals()["chrono", "rnn"]
    assert "sets weight_hh, which this model sets by its definition" in refusals()["orthogonal", "orthogonal_rnn"]


def weights(network: Network) -> dict[str, Tensor]:
    return {name: weight.detach() for name, weight in network.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize(("init", "model"), accepted())
def test_what_it_does_not_change_is_as_without_it_bit_for_bit(init, model):
    settings = chosen(init, model)
    member = settings.model.init[init]
    changed = set()
    with_it, without = (
        weights(build(settings)),
        weights(build(plan("task=adding", f"model={model}", "model.num_layers=2"))),
    )
    assert with_it.keys() == without.keys()
    for name, weight in with_it.items():
        last = name.rpartition(".")[2]
        if last in member.changes or (init == "pascanu" and name.startswith("readout")):
            if not torch.equal(weight, without[name]):
                changed.add(name)
        else:
            assert torch.equal(weight, without[name]), name
    every = {name for name in with_it if name.rpartition(".")[2] in member.changes}
    assert changed >= every or model == "irnn"


@pytest.mark.parametrize(("init", "model"), accepted())
def test_a_replica_does_not_depend_on_its_neighbours(init, model):
    settings = chosen(init, model)
    stack = weights(build(settings, seed=5))
    for replica in range(3):
        alone = weights(build(settings, replicas=1, seed=5 + replica))
        for name, weight in stack.items():
            assert torch.equal(weight[replica], alone[name][0]), name


@pytest.mark.slow
@pytest.mark.parametrize(("init", "model"), accepted())
def test_in_half_the_precision_too(init, model):
    for name, weight in build(chosen(init, model), dtype=torch.float32).named_parameters():
        assert weight.dtype == torch.float32
        assert weight.isfinite().all(), name


def test_they_act_in_the_order_in_which_they_are_given():
    settings = plan(
        "task=adding", "model=rnn", "init=[orthogonal,spectral_radius]", "model.init.spectral_radius.radius=0.5"
    )
    weight = weights(build(settings))["layers.0.weight_hh"]
    assert torch.allclose(weight.mT @ weight, 0.25 * torch.eye(weight.shape[-1], dtype=torch.float64).expand_as(weight))
    lstm = ("task=adding", "model=lstm", "model.init.forget_bias.value=7")
    after = weights(build(plan(*lstm, "init=[chrono,forget_bias]")))["layers.0.bias_ih"]
    size = after.shape[-1] // 4
    assert torch.equal(after[:, size : 2 * size], torch.full((3, size), 7.0, dtype=torch.float64))
    chrono = weights(build(plan("task=adding", "model=lstm", "init=[chrono]")))["layers.0.bias_ih"]
    assert torch.equal(after[:, :size], chrono[:, :size])


@pytest.mark.parametrize(
    ("model", "inits", "lost"),
    [
        ("rnn", "spectral_radius,orthogonal", "spectral_radius"),
        ("lstm", "orthogonal,xavier", "orthogonal"),
        ("gru", "forget_bias,chrono", "forget_bias"),
        ("rnn", "orthogonal,identity", "orthogonal"),
    ],
)
def test_one_of_which_the_next_leaves_nothing_is_refused(model, inits, lost):
    with pytest.raises(
        ConfigError, match=rf"model\.init\.{lost} would be overwritten by init\.\w+, which comes after it"
    ):
        plan("task=adding", f"model={model}", f"init=[{inits}]")


def test_what_one_draws_does_not_depend_on_those_before_it():
    alone, second = (
        weights(build(plan("task=adding", "model=lstm", f"init=[{inits}]")))["layers.0.bias_ih"]
        for inits in ("chrono", "orthogonal,chrono")
    )
    assert torch.equal(alone, second)
