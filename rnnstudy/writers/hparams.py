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


def started(
    hyperparameters: Hyperparameters, chosen: Collection[str], metrics: Sequence[tuple[str, str]]
) -> list[Message]:
    """What to write when a run begins: the columns of the page, and what this run has in them.

    A run's own event file holds all of it: `SummaryWriter.add_hparams` would make a run of its own for it.

    Args:
        hyperparameters: By name.
        chosen: Names of those whose columns are shown first: TensorBoard hides all but five until they are asked for.
        metrics: Scalar tags whose last figures are shown, each with the title of its column.

    Returns:
        Two summaries.
    """
    experiment = _api.Experiment(
        hparam_infos=[
            _api.HParamInfo(name=name, type=_type(value), differs=name in chosen)
            for name, value in hyperparameters.items()
        ],
        metric_infos=[_api.MetricInfo(name=_api.MetricName(tag=tag), display_name=title) for tag, title in metrics],
    )
    session = _data.SessionStartInfo()
    for name, value in hyperparameters.items():
        if isinstance(value, bool):
            session.hparams[name].bool_value = value
        elif isinstance(value, str):
            session.hparams[name].string_value = value
        else:
            session.hparams[name].number_value = value
    return [
        _summary(metadata.EXPERIMENT_TAG, _data.HParamsPluginData(experiment=experiment)),
        _summary(metadata.SESSION_START_INFO_TAG, _data.HParamsPluginData(session_start_info=session)),
    ]


def ended() -> Message:
    """What to write when a run has come to its end."""
    session = _data.SessionEndInfo(status=_api.STATUS_SUCCESS)
    return _summary(metadata.SESSION_END_INFO_TAG, _data.HParamsPluginData(session_end_info=session))


def _type(value: str | float | bool) -> int:
    if isinstance(value, bool):
        return _api.DATA_TYPE_BOOL
    return _api.DATA_TYPE_STRING if isinstance(value, str) else _api.DATA_TYPE_FLOAT64


def _summary(tag: str, data: Any) -> Message:
    # The value means nothing, but without one TensorBoard does not load the tag.
    described = metadata.create_summary_metadata(data)
    return _summaries.Summary(
        value=[_summaries.Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)]
    )
