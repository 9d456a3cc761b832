"""What a file may say that is to be searched."""

import pytest
from tools.members import members

from rnnstudy.core.errors import ConfigError
from rnnstudy.study.search.space import Tuning, Values, read_search
from rnnstudy.study.search.tune import require_possible

WRONG = {
    "no mapping": ("- model", "must be a mapping"),
    "no space": ("trials: 3", "space must map keys"),
    "empty space": ("space: {}", "space must hold at least one key"),
    "unknown key": ("space: {model: {choices: [gru]}}\ntrails: 3", "trails is not a known key. Did you mean 'trials'"),
    "unknown key of a value": ("space: {optimizer.lr: {lo: 1}}", "space.optimizer.lr.lo is not a known key"),
    "unknown key of prune": ("space: {model: {choices: [gru]}}\nprune: {affter: 3}", "prune.affter is not a known key"),
    "a list in place of choices": ("space: {model: [gru, lstm]}", "space.model must be a mapping"),
    "no choices": ("space: {model: {choices: []}}", "space.model.choices must hold at least one value"),
    "a list as a choice": ("space: {mitigation: {choices: [[clip_norm]]}}", "space.mitigation.choices"),
    "choices and low": ("space: {x: {choices: [1], low: 1}}", "space.x.choices goes with none of low"),
    "low alone": ("space: {x: {low: 1}}", "space.x.low and high must both be given"),
    "low above high": ("space: {x: {low: 3, high: 2}}", "space.x.low must be below high, got 3 and 2"),
    "low equal to high": ("space: {x: {low: 2, high: 2}}", "space.x.low must be below high"),
    "no number": ("space: {x: {low: 1e-3, high: 1.0}}", "space.x.low must be a valid .* got '1e-3'"),
    "not a number": ("space: {x: {low: .nan, high: 1.0}}", "space.x.low must be a finite number"),
    "infinite": ("space: {x: {low: 1.0, high: .inf}}", "space.x.high must be a finite number"),
    "log of 0": ("space: {x: {low: 0, high: 2, log: true}}", "space.x.low must be above 0 with log, got 0"),
    "log and step": ("space: {x: {low: 1, high: 4, log: true, step: 1}}", "space.x.step must be above 0 and goes"),
    "step 0": ("space: {x: {low: 1, high: 4, step: 0}}", "space.x.step must be above 0"),
    "no trials": ("space: {model: {choices: [gru]}}\ntrials: 0", "trials must be at least 1, got 0"),
    "direction": (
        "space: {model: {choices: [gru]}}\ndirection: up",
        "direction must be minimize or maximize, got 'up'",
    ),
    "metric": ("space: {model: {choices: [gru]}}\nmetric: speed", "metric must be steps_to_solve or a tag of the log"),
    "slowest": (
        "space: {model: {choices: [gru]}}\ndirection: maximize",
        "direction must be minimize with metric=steps",
    ),
    "prune after -1": (
        "space: {model: {choices: [gru]}}\nprune: {after: -1}",
        "prune.after must be at least 0, got -1",
    ),
    "prune at once": (
        "space: {model: {choices: [gru]}}\nprune: {startup_trials: 0}",
        "prune.startup_trials must be at",
    ),
    "no yaml": ("space: {", "cannot be read: .* line 1"),
    "code": ("space: !!python/object/apply:os.system [echo]", "cannot be read: could not determine a constructor"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_in_a_file_is_named_with_the_file(tmp_path, case):
    content, message = WRONG[case]
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_search(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_told_with_those_that_are(tmp_path):
    with pytest.raises(ConfigError, match=r"There is no search 'coconut_watr'.*Did you mean 'coconut_water'"):
        read_search("coconut_watr")
    with pytest.raises(ConfigError, match="There is no search"):
        read_search(str(tmp_path / "mine.yaml"))


def test_prune_null_gives_up_no_run(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("space: {model: {choices: [gru]}}\nprune: null")
    assert read_search(str(path))[1].prune is None


@pytest.mark.parametrize(
    ("values", "others"),
    [
        (Values(choices=["gru", "lstm", "rnn"]), ["lstm", "rnn"]),
        (Values(low=16, high=64), [64]),
        (Values(low=16, high=63, step=16), [48]),
        (Values(low=1e-3, high=1.0, log=True), [1.0]),
    ],
)
def test_the_other_values_to_check_are_all_choices_or_the_greatest_number(values, others):
    assert values.others == others


def test_a_value_is_written_as_on_the_command_line():
    values = {"a": True, "b": 0.000123456, "c": 16, "d": "[clip_norm]"}
    tuning = Tuning(name="mine", search=read_search("coconut_water")[1], overrides=["task.lag=40"])
    assert tuning.arguments(values) == ["task.lag=40", "a=true", "b=0.0001235", "c=16", "d=[clip_norm]"]


@pytest.mark.parametrize("name", members("search"))
def test_every_search_that_comes_along_is_possible(name):
    stem, search = read_search(name)
    assert stem == name
    assert require_possible(Tuning(name=name, search=search, overrides=[])).config["seed"] == 0
