"""Every yaml file builds, and every member has one."""

import importlib
import inspect
import pkgutil

import pytest
import yaml
from tools.members import compose, members, plan, suited_model

from rnnstudy.config.folder import conf_folder
from rnnstudy.config.schema import plan_run
from rnnstudy.core.errors import ConfigError
from rnnstudy.inits.base import Initialisation
from rnnstudy.instruments.base import Instrument
from rnnstudy.mitigations.base import Mitigation
from rnnstudy.models.base import Model
from rnnstudy.schedules.base import LearningRateSchedule
from rnnstudy.tasks.base import Task

GROUPS = {
    "task": Task,
    "model": Model,
    "init": Initialisation,
    "mitigation": Mitigation,
    "instrument": Instrument,
    "schedule": LearningRateSchedule,
}
LISTS = {"init", "mitigation", "instrument"}


def classes(base: type) -> set[str]:
    """Every concrete class of a package that derives from `base`, by its dotted name."""
    package = importlib.import_module(base.__module__.rpartition(".")[0])
    found = set()
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if (
                issubclass(cls, base)
                and not inspect.isabstract(cls)
                and cls.__module__ == module.name != base.__module__
            ):
                found.add(f"{cls.__module__}.{cls.__qualname__}")
    return found


@pytest.mark.parametrize(("group", "base"), GROUPS.items())
def test_every_member_has_a_yaml_of_its_name_and_every_yaml_a_member(group, base):
    targets = {}
    for name in members(group):
        node = yaml.safe_load((conf_folder() / group / f"{name}.yaml").read_text())
        targets[name] = (node[name] if group in LISTS else node)["_target_"]
    assert classes(base) <= set(targets.values())
    for name, target in targets.items():
        if group in LISTS:
            assert target.split(".")[-2] == name


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in (*GROUPS, "optimizer") for name in members(group)]
)
def test_every_yaml_builds_and_names_every_argument(group, name):
    overrides = [f"{group}={name}"]
    if group in LISTS:
        overrides = [f"{group}=[{name}]", f"model={suited_model(group, name)}"]
    plan(*overrides)
    if group in GROUPS:
        config = compose(*overrides)
        node = config["model"]["init"] if group == "init" else config[group]
        node = node[name] if group in LISTS else node
        module, _, cls = node["_target_"].rpartition(".")
        known = set(inspect.signature(getattr(importlib.import_module(module), cls)).parameters)
        assert known == set(node) - {"_target_"}


def test_the_defaults_are_complete():
    config = compose()
    built = plan_run(config)
    assert built.mitigations == []
    assert [type(instrument).__name__ for instrument in built.instruments] == [
        "HiddenGradNorm",
        "HiddenGradHistogram",
        "HiddenGradThroughTime",
        "GradNorm",
        "FlightRecorder",
        "Horizon",
        "GainBound",
        "Credit",
        "UpdateSize",
    ]


@pytest.mark.parametrize("key", ["task", "model", "mitigation", "train", "numerics", "seed", "run_dir"])
def test_a_missing_key_is_named(key):
    config = compose()
    del config[key]
    with pytest.raises(ConfigError, match=rf"^{key} is missing"):
        plan_run(config)


def test_an_unknown_key_is_named():
    with pytest.raises(ConfigError, match=r"^modle is not a known key\. Did you mean 'model'\?"):
        plan_run(compose() | {"modle": {}})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", -1, r"^seed must be at least 0, got -1\.$"),
        ("replicas", 0, r"^replicas must be at least 1, got 0\.$"),
        ("replicas", "many", r"^replicas must be a valid integer, got 'many'"),
        ("mitigation", "clip_norm", r"^mitigation must be a list of members"),
    ],
)
def test_bad_plain_values(key, value, message):
    config = compose()
    config[key] = value
    with pytest.raises(ConfigError, match=message):
        plan_run(config)


def test_mitigations_keep_the_order_given():
    built = plan("mitigation=[clip_norm]").mitigations
    assert [type(mitigation).__name__ for mitigation in built] == ["ClipNorm"]
