"""Columns of TensorBoard's page of hyperparameters: those of all runs, where TensorBoard takes those of one run."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tensorboard import default
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from typing_extensions import override

Contents = Mapping[str, Mapping[str, bytes]]
"""Content of each tag of the page, by run and tag."""


def plugins() -> list[Any]:
    """Return TensorBoard's plugins, with a page of hyperparameters that shows the columns of all runs."""
    return [_HParams if each is HParamsPlugin else each for each in default.get_plugins()]


class _HParams(HParamsPlugin):
    def __init__(self, context: TBContext) -> None:
        super().__init__(context)
        self._context = _AllRuns(context)


class _AllRuns(Context):
    """Columns of all runs, those first in which the runs differ, whichever run is read first."""

    @override
    def experiment_from_metadata(
        self,
        ctx: Any,
        experiment_id: str,
        include_metrics: bool,
        hparams_run_to_tag_to_content: Contents,
        data_provider_hparams: Any,
        hparams_limit: int | None = None,
    ) -> Any:
        contents = hparams_run_to_tag_to_content
        described = [
            metadata.parse_experiment_plugin_data(tags[metadata.EXPERIMENT_TAG])
            for _, tags in sorted(contents.items())
            if metadata.EXPERIMENT_TAG in tags
        ]
        # Where no run describes columns, TensorBoard takes them from the values of all runs.
        values = {
            run: {tag: content for tag, content in tags.items() if tag != metadata.EXPERIMENT_TAG}
            for run, tags in contents.items()
        }
        asks = include_metrics and not described
        experiment = super().experiment_from_metadata(ctx, experiment_id, asks, values, data_provider_hparams)
        _order(experiment, values, hparams_limit)
        if include_metrics and described:
            # The run with most metrics has them in their order; others add what it lacks.
            described.sort(key=lambda each: -len(each.metric_infos))
            found = {each.name.tag: each for one in reversed(described) for each in one.metric_infos}
            tags = dict.fromkeys(each.name.tag for one in described for each in one.metric_infos)
            experiment.metric_infos.extend(found[tag] for tag in tags)
        return experiment


def _order(experiment: Any, values: Contents, most: int | None) -> None:
    """Put the hyperparameters first that differ, then those that only some runs have, and drop those beyond `most`."""
    starts = [
        metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG])
        for tags in values.values()
        if metadata.SESSION_START_INFO_TAG in tags
    ]
    holders = Counter(name for start in starts for name in start.hparams)
    partly = {name for name, count in holders.items() if count < len(starts)}
    infos = sorted(experiment.hparam_infos, key=lambda each: (not each.differs, each.name not in partly, each.name))
    for each in infos:
        each.differs |= each.name in partly
    del experiment.hparam_infos[:]
    experiment.hparam_infos.extend(infos[: most or None])
