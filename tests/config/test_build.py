import math

import pytest
import torch

from rnnstudy.config.build import build, build_section
from rnnstudy.config.optimizer import optimizer_factory
from rnnstudy.core.errors import ConfigError
from rnnstudy.core.numerics import Numerics
from rnnstudy.core.schedule import Every
from rnnstudy.instruments.base import Instrument
from rnnstudy.instruments.grad_norm import GradNorm
from rnnstudy.mitigations.base import Mitigation
from rnnstudy.mitigations.clip_norm import ClipNorm
from rnnstudy.models.base import Model
from rnnstudy.models.rnn import RNN

RNN_TARGET = "rnnstudy.models.rnn.RNN"


def test_a_node_becomes_an_object_with_the_objects_inside():
    node = {
        "_target_": "rnnstudy.instruments.grad_norm.GradNorm",
        "schedule": {"_target_": "rnnstudy.core.schedule.Every", "interval": 7},
    }
    assert build(node, Instrument, path="instrument.grad_norm") == GradNorm(schedule=Every(interval=7))
    assert build({"_target_": RNN_TARGET, "nonlinearity": "relu"}, Model, path="model") == RNN(nonlinearity="relu")


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"hidden_size": 3}, r"model\._target_ must name a class"),
        ({"_target_": "os.system"}, r"model\._target_ may only name classes of rnnstudy .* got 'os\.system'"),
        ({"_target_": "torch.load"}, "may only name classes"),
        ({"_target_": "rnnstudyevil.models.RNN"}, "may only name classes"),
        ({"_target_": "rnnstudy.models.rnn.RNM"}, "names 'rnnstudy.models.rnn.RNM', which does not exist"),
        ({"_target_": "rnnstudy.models.nope.RNN"}, "which does not exist"),
        ({"_target_": "rnnstudy.core.schedule.Every", "interval": 1}, r"model\._target_ must name a Model"),
        ({"_target_": "rnnstudy.models.base.Model"}, r"must name a Model"),
        ({"_target_": "rnnstudy.models.rnn.dataclass"}, r"must name a Model"),
        (
            {"_target_": RNN_TARGET, "hiden_size": 3},
            r"model\.hiden_size is not a known key\. Did you mean 'hidden_size'",
        ),
        ({"_target_": RNN_TARGET, "hidden_size": "big"}, r"model\.hidden_size must be a valid integer, got 'big'"),
        ({"_target_": RNN_TARGET, "hidden_size": 2.5}, r"model\.hidden_size must be a valid integer, got 2\.5"),
        ({"_target_": RNN_TARGET, "hidden_size": True}, r"model\.hidden_size must be a valid integer, got True"),
        ({"_target_": RNN_TARGET, "hidden_size": None}, r"model\.hidden_size must be"),
        ({"_target_": RNN_TARGET, "hidden_size": 0}, r"model\.hidden_size must be at least 1, got 0"),
        ({"_target_": RNN_TARGET, "embedding_size": "x"}, r"model\.embedding_size must be a valid integer"),
        (
            {"_target_": RNN_TARGET, "nonlinearity": "tan"},
            r"model\.nonlinearity must be 'tanh', 'sigmoid', 'relu', 'identity' or 'modrelu', got",
        ),
        ("rnn", r"model must be a mapping"),
    ],
)
def test_bad_nodes_are_refused_in_one_line(node, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build(node, Model, path="model")
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named():
    with pytest.raises(ConfigError, match=r"schedule\.interval is missing and has no default"):
        build({"_target_": "rnnstudy.core.schedule.Every"}, Every, path="schedule")


def test_sections():
    assert build_section(Numerics, {"threads": 2}, path="numerics").threads == 2
    with pytest.raises(ConfigError, match=r"numerics\.tf32 must be a valid boolean, got 'yes'"):
        build_section(Numerics, {"tf32": "yes"}, path="numerics")


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "torch.optim.LBFGS"}, "must treat every weight by itself"),
        ({"_target_": "torch.optim.Adafactor"}, "must treat every weight by itself"),
        ({"_target_": "torch.optim.lr_scheduler"}, "must name an optimizer of torch.optim"),
        ({"_target_": "torch.optim.Adm"}, "does not exist"),
        ({"_target_": "torch.optim.Adam", "learning_rate": 1}, r"optimizer\.learning_rate is not a known key"),
        ({"_target_": "torch.optim.Adam", "params": []}, r"optimizer\.params is not a known key"),
        ({"_target_": "torch.optim.Adam", "lr": "fast"}, r"optimizer\.lr must be a number, got 'fast'"),
        ({"_target_": "torch.optim.Adam", "lr": -1.0}, r"optimizer: Adam refuses its arguments: Invalid learning rate"),
        ({"_target_": "torch.optim.Adam", "lr": math.nan}, "refuses its arguments"),
        ({"_target_": "torch.optim.Adam", "betas": [0.9]}, r"optimizer\.betas must be a list of 2 numbers"),
        ({"_target_": "torch.optim.Adam", "amsgrad": 1}, r"optimizer\.amsgrad must be true or false"),
    ],
)
def test_bad_optimizers_are_refused(node, message):
    with pytest.raises(ConfigError, match=message):
        optimizer_factory(node, path="optimizer")


def test_an_optimizer_is_made_for_a_network():
    make = optimizer_factory({"_target_": "torch.optim.Adam", "lr": 0.5, "betas": [0.8, 0.9]}, path="optimizer")
    made = make(torch.nn.Linear(2, 2)).optimizer
    assert isinstance(made, torch.optim.Adam)
    assert made.defaults["lr"] == 0.5
    assert made.defaults["betas"] == (0.8, 0.9)


@pytest.mark.parametrize("written", ["inf", ".inf"])
def test_infinity_as_yaml_and_as_the_command_line_write_it(written):
    node = {"_target_": "rnnstudy.mitigations.clip_norm.ClipNorm", "max_norm": written}
    assert build(node, Mitigation, path="mitigation.clip_norm") == ClipNorm(max_norm=float("inf"))
