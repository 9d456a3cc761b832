"""The hyperparameters and the layout of a run, parsed as TensorBoard's plugins parse them."""

import re
from typing import Any

import pytest
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, metadata
from tools.events import read, tags_of
from tools.members import SMALL, compose, run_small

from rnnstudy.study.run.board_facts import chosen_columns, hyperparameters
from rnnstudy.writers.hparams import started
from rnnstudy.writers.layout import CATEGORY

# Protobuf makes its classes at run time, where type checkers do not see them.
_api: Any = api_pb2
_layout: Any = layout_pb2


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run_small(tmp_path_factory.mktemp("study") / "run", "mitigation=[clip_norm]", "model=gru")


def content(folder, tag):
    """What the plugin reads: the metadata of the tag, which must be there once."""
    events = read(folder)
    assert len(events.Tensors(tag)) == 1
    return events.SummaryMetadata(tag).plugin_data.content


def test_hyperparameters_and_final_metrics_are_in_the_runs_own_file_once(trained):
    session = metadata.parse_session_start_info_plugin_data(
        content(trained.tensorboard, metadata.SESSION_START_INFO_TAG)
    )
    told = {name: getattr(value, value.WhichOneof("kind")) for name, value in session.hparams.items()}
    assert told == {
        "task": "coconut_water",
        "model": "gru",
        "init": "none",
        "mitigation": "clip_norm",
        "optimizer": "adam",
        "schedule": "constant",
        "seed": 0,
        "replicas": 3,
        "model.hidden_size": 6,
        "optimizer.lr": 0.001,
        "train.batch_size": 4,
        "seq_len": 23,
    }
    experiment = metadata.parse_experiment_plugin_data(content(trained.tensorboard, metadata.EXPERIMENT_TAG))
    assert [info.name for info in experiment.hparam_infos] == [
        *("task", "model", "init", "mitigation", "optimizer", "schedule", "seed", "replicas"),
        *("model.hidden_size", "optimizer.lr", "train.batch_size", "seq_len"),
    ]
    assert [info.name for info in experiment.hparam_infos if info.differs] == ["model", "mitigation"]
    metrics = [info.name.tag for info in experiment.metric_infos]
    so_far = [f"at_a_glance/{figure}" for figure in ("diverged_fraction", "log10_largest_norm", "spikes")]
    assert metrics[:6] == ["at_a_glance/solved_fraction", "final/steps_to_solve", *so_far, "at_a_glance/loss"]
    # No replica has solved the task in a few steps.
    assert set(metrics) - tags_of(trained.tensorboard) == {"final/steps_to_solve"}
    ended = metadata.parse_session_end_info_plugin_data(content(trained.tensorboard, metadata.SESSION_END_INFO_TAG))
    assert ended.status == _api.STATUS_SUCCESS


def test_there_are_no_runs_but_this_one_and_those_of_its_time_steps(trained):
    holders = {path.parent.relative_to(trained.path).as_posix() for path in trained.path.rglob("*tfevents*")}
    assert holders == {".", "at_step_000000", "at_step_000012"}
    assert len(list(trained.path.glob("*tfevents*"))) == 1


def test_values_set_by_hand_are_hyperparameters_and_lists_are_not():
    overrides = ["task=adding", "task.seq_len=[5,9]", "mitigation=[h_detach,clip_norm]", "+model.init=x"]
    overrides += ["mitigation.clip_norm.max_norm=0.5", "optimizer.lr=0.01", "model.layer_norm=true", "output_dir=/x"]
    config = compose(*SMALL, *(each for each in overrides if not each.startswith(("+", "output"))))
    told = hyperparameters(config, overrides, seq_len=9)
    assert told["mitigation"] == "h_detach+clip_norm"
    assert told["mitigation.clip_norm.max_norm"] == 0.5
    assert told["optimizer.lr"] == 0.01
    assert told["model.layer_norm"] is True
    assert told["seq_len"] == 9
    assert not {"task.seq_len", "output_dir", "model.init"} & told.keys()
    assert set(chosen_columns(overrides)) >= {"task", "mitigation", "optimizer.lr", "model.layer_norm"}
    assert "output_dir" not in chosen_columns(overrides)


def test_what_was_chosen_is_shown_first():
    """TensorBoard shows what differs, and five columns by default."""
    columns = {"task": "adding", "model": "lstm", "task.lag": 4.0, "wide": True}
    summaries: list[Any] = started(columns, ["task.lag", "wide"], [])
    experiment, start = summaries
    infos = metadata.parse_experiment_plugin_data(experiment.value[0].metadata.plugin_data.content).hparam_infos
    differs = {info.name: info.differs for info in infos}
    assert differs == {"task": False, "model": False, "task.lag": True, "wide": True}
    assert [info.type for info in infos][2:] == [_api.DATA_TYPE_FLOAT64, _api.DATA_TYPE_BOOL]
    session = metadata.parse_session_start_info_plugin_data(start.value[0].metadata.plugin_data.content)
    assert session.hparams["wide"].WhichOneof("kind") == "bool_value"


def charts_of(folder):
    (event,) = read(folder.tensorboard).Tensors("custom_scalars__config__")
    (category,) = _layout.Layout.FromString(event.tensor_proto.string_val[0]).category
    assert category.title == CATEGORY
    return category.chart


def test_the_layout_puts_the_figures_together_under_one_title(trained):
    charts = charts_of(trained)
    shown = tags_of(trained.tensorboard)
    of_margins = {}
    for chart in charts:
        for series in chart.margin.series:
            of_margins[chart.title] = (series.value, series.lower, series.upper)
            assert {series.value, series.lower, series.upper} <= shown
    assert len(of_margins) == 5
    # Drawn from the last to the first.
    assert list(of_margins)[-2:] == ["accuracy", "loss"]
    assert of_margins["loss"] == ("at_a_glance/loss", "spread/loss/low", "spread/loss/high")
    lines = {chart.title: list(chart.multiline.tag) for chart in charts if chart.multiline.tag}
    so_far = ["log10 of the largest gradient norm so far", "spikes so far, per replica"]
    by_lag = [f"log10 of the gradient norm at lag {lag}" for lag in (0, 3, 5, 8, 22)]
    assert list(lines) == ["solved fraction", "diverged fraction", *so_far, *by_lag]
    # One line per run.
    matching = {title: [tag for tag in shown if re.search(pattern, tag)] for title, (pattern,) in lines.items()}
    assert all(len(tags) == 1 for tags in matching.values()), matching


def test_what_a_run_does_not_have_has_no_chart(tmp_path):
    folder = run_small(tmp_path / "run", "task=text", "train.num_steps=2")
    titles = {chart.title for chart in charts_of(folder)}
    assert not {"clip coefficient", "solved fraction"} & titles
    assert "loss" in titles
