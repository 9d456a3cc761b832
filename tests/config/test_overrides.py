"""Settings from Python ask for the same configuration as overrides."""

from dataclasses import replace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from tools.members import compose, members

import rnnstudy as rs
from rnnstudy.config.overrides import ask_for_several, overrides_of
from rnnstudy.config.schema import plan_run


def planned(*overrides: str):
    return plan_run({key: value for key, value in compose(*overrides).items() if key != "choices"})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"task": rs.tasks.Adding(seq_len=100)}, ["task=adding"]),
        ({"task": rs.tasks.Adding(seq_len=20, variant="pascanu")}, "task=adding task.seq_len=20 task.variant=pascanu"),
        ({"task": rs.tasks.Memorization(variant="20_bit")}, ["task=memorization", "task.variant='20_bit'"]),
        ({"model": rs.models.RNN(nonlinearity="relu")}, "model=rnn model.nonlinearity=relu"),
        (
            {"model": rs.models.LSTM(init={"chrono": rs.inits.Chrono(t_max=9), "xavier": rs.inits.Xavier()})},
            "model=lstm init=[chrono,xavier] model.init.chrono.t_max=9",
        ),
        ({"init": ["chrono", rs.inits.Xavier(gain=2)]}, "init=[chrono,xavier] model.init.xavier.gain=2"),
        (
            {"mitigation": [rs.mitigations.ClipNorm(max_norm=0.5), rs.mitigations.SkipNonfinite()]},
            "mitigation=[clip_norm,skip_nonfinite] mitigation.clip_norm.max_norm=0.5",
        ),
        ({"mitigation": []}, ["mitigation=[]"]),
        (
            {"instrument": [rs.instruments.Horizon(schedule=rs.Every(interval=7))]},
            "instrument=[horizon] instrument.horizon.schedule.interval=7",
        ),
        ({"optimizer": "sgd", "optimizer.lr": 1e-5}, "optimizer=sgd optimizer.lr=1e-05"),
        ({"train": {"num_steps": 5}, "replicas": 2, "run_dir": None}, "train.num_steps=5 replicas=2 run_dir=null"),
    ],
)
def test_only_what_differs_from_the_yaml_file_is_spelled(settings, expected):
    assert overrides_of(settings) == (expected.split() if isinstance(expected, str) else expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"instrument": [rs.instruments.GradNorm(schedule=rs.At(steps=[3, 5]))]},
        {"mitigation": [rs.mitigations.ClipValue(max_value=float("inf")), rs.mitigations.WeightDecay(strength=1e-3)]},
        {"schedule": rs.schedules.Exponential(rate=0.5, stairs=True)},
        {"task": rs.tasks.TemporalOrder(seq_len=11), "model": rs.models.GRU(num_layers=2, layer_norm=True)},
    ],
)
def test_the_same_objects_are_built_from_the_overrides(settings):
    plan = planned(*overrides_of(settings))
    built = {"instrument": plan.instruments, "mitigation": plan.mitigations, "schedule": plan.schedule}
    built |= {"task": plan.task, "model": plan.model}
    assert {key: built[key] for key in settings} == settings


@pytest.mark.parametrize("model", members("model"))
def test_a_model_of_any_yaml_file_is_the_same_model_again(model):
    built = planned(f"model={model}").model
    assert planned(*overrides_of({"model": replace(built, hidden_size=10)})).model == replace(built, hidden_size=10)


@given(st.text(st.characters(exclude_categories=["C"]), min_size=1) | st.lists(st.floats() | st.booleans() | st.none()))
def test_any_value_arrives_as_it_is(value):
    (override,) = overrides_of({"key": value})
    arrived = OverridesParser.create().parse_override(override).value()
    assert repr(arrived) == repr(value)


def test_commas_between_values_make_a_sweep():
    assert ask_for_several(["model=gru,lstm"])
    assert ask_for_several(["seed=range(3)"])
    assert not ask_for_several(["mitigation=[clip_norm,omega]", "task.lag=40", "study='a,b'"])
    assert not ask_for_several(["[=x"])


def test_what_no_command_line_can_ask_for_is_refused():
    class Mine(rs.tasks.Adding):
        pass

    for settings, told in [
        ({"task": Mine(seq_len=3)}, r"task must be a member that has a yaml file in conf/task, got .*Mine\(seq_len=3"),
        ({"model": rs.models.LSTM}, "model must be a member that has a yaml file in conf/model, got <class"),
        ({"seed": {1, 2}}, r"seed must be a member or a plain value, got \{1, 2\}"),
        (
            {"model": rs.models.LSTM(init={"mine": rs.inits.Xavier()})},
            "model.init must name each initialisation as its file: 'xavier', got 'mine'",
        ),
    ]:
        with pytest.raises(rs.ConfigError, match=told):
            overrides_of(settings)
