"""The plan of a study: what is allowed, and how it is stored."""

import pytest
from tools.members import compose, run_small

from rnnstudy.config.members import members
from rnnstudy.config.plain import check_plain
from rnnstudy.core.errors import ConfigError
from rnnstudy.runs.identity import telling_name
from rnnstudy.runs.plan import ComparisonPlan, read_plan
from rnnstudy.runs.run import read_run
from rnnstudy.runs.settings import flatten, read_choices
from rnnstudy.study.jobs.compose import compose_jobs

PLANNED = ("compare.measure=loss", "compare.baseline='model=rnn'", "compare.correct=holm")


def test_a_run_keeps_its_plan(tmp_path):
    folder = run_small(tmp_path / "run", *PLANNED, "train.num_steps=1", "instrument=[]")
    plan = read_plan(read_run(folder, label="run").config)
    assert plan == ComparisonPlan(measure="loss", baseline="model=rnn", correct="holm")


def test_a_plan_changes_neither_figures_nor_the_name_of_a_run():
    name = telling_name(compose("replicas=2"), ["replicas=2"])
    assert telling_name(compose("replicas=2", *PLANNED), ["replicas=2", *PLANNED]) == name


@pytest.mark.parametrize("config", [{}, {"compare": None}, {"compare": {}}, {"compare": {"measure": None}}])
def test_runs_without_a_plan_have_the_default(config):
    assert read_plan(config) == ComparisonPlan(measure=None, baseline=None, correct="max-t")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("compare.measure=solve", r"^compare\.measure must be null or .*, got 'solve'\. Did you mean 'solved'\?"),
        ("compare.baseline=lstm", r"^compare\.baseline must be null or a condition KEY=VALUE, .* got 'lstm'\.$"),
        ("compare.correct=bonferroni", r"^compare\.correct .*, got 'bonferroni'\. Allowed: holm, max-t, none\.$"),
    ],
)
def test_a_plan_that_is_not_allowed_is_refused_before_training_and_when_read(override, message):
    config = compose(override)
    for read in (check_plain, read_plan):
        with pytest.raises(ConfigError, match=message):
            read(config)


@pytest.mark.parametrize("experiment", members("experiment"))
def test_the_baseline_of_a_shipped_study_is_one_of_its_runs(experiment):
    jobs = compose_jobs([f"experiment={experiment}"])
    (baseline,) = {read_plan(job.config).baseline for job in jobs}
    assert baseline
    wanted = [condition.replace("[]", "none").split("=") for condition in baseline.split(",")]
    found = [flatten(job.config) | read_choices(dict(job.config)) for job in jobs]
    assert any(all(each[key] == value for key, value in wanted) for each in found)
