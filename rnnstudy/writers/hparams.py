"""The hyperparameters of a run, for TensorBoard's HParams page."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

# Protobuf makes its classes at run time, where type checkers do not see them.
_api: Any = api_pb2
_data: Any = plugin_data_pb2
_summaries: Any = summary_pb2

Hyperparameters = Mapping[str, str | float | bool]

_KINDS = {
    bool: (_api.DATA_TYPE_BOOL, "bool_value"),
    str: (_api.DATA_TYPE_STRING, "string_value"),
    (int, float): (_api.DATA_TYPE_FLOAT64, "number_value"),
}
"""Type of a column and field of a value; `bool` first, as it is an `int` too."""


def started(
    hyperparameters: Hyperparameters, chosen: Collection[str], metrics: Sequence[tuple[str, str, str]]
) -> list[Message]:
    """Return the summaries that begin a run: the columns of the page, and this run's values in them.

    A run's own event file holds both: `SummaryWriter.add_hparams` would make a run of its own for them. TensorBoard
    shows the columns in `chosen` first; it hides all but five until they are asked for. Each of `metrics` is a
    scalar tag, whose last figure is shown, the title of its column, and its description.
    """
    experiment, session = _api.Experiment(), _data.SessionStartInfo()
    for name, value in hyperparameters.items():
        kind, field = next(pair for each, pair in _KINDS.items() if isinstance(value, each))
        experiment.hparam_infos.add(name=name, type=kind, differs=name in chosen)
        setattr(session.hparams[name], field, value)
    for tag, title, text in metrics:
        experiment.metric_infos.add(name=_api.MetricName(tag=tag), display_name=title, description=text)
    return [
        _summary(metadata.EXPERIMENT_TAG, _data.HParamsPluginData(experiment=experiment)),
        _summary(metadata.SESSION_START_INFO_TAG, _data.HParamsPluginData(session_start_info=session)),
    ]


def ended() -> Message:
    """Return the summary that ends a run."""
    session = _data.SessionEndInfo(status=_api.STATUS_SUCCESS)
    return _summary(metadata.SESSION_END_INFO_TAG, _data.HParamsPluginData(session_end_info=session))


def _summary(tag: str, data: Any) -> Message:
    # The value means nothing, but without one TensorBoard does not load the tag.
    described = metadata.create_summary_metadata(data)
    value = _summaries.Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)
    return _summaries.Summary(value=[value])
