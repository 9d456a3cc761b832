"""Facts about a run for TensorBoard."""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import Any

from rnnstudy.config.members import on_by_default
from rnnstudy.config.schema import Plan
from rnnstudy.models.base import Network
from rnnstudy.runs import tags
from rnnstudy.runs.groups import CHOSEN
from rnnstudy.runs.identity import changes_figures
from rnnstudy.runs.settings import walk
from rnnstudy.writers.hparams import Hyperparameters
from rnnstudy.writers.overview import RunFacts

_ALWAYS = ("seed", "replicas", "model.hidden_size", "optimizer.lr", "train.batch_size")


def run_facts(plan: Plan, config: Mapping[str, Any], network: Network) -> RunFacts:
    """Return the facts that TensorBoard's view of a run needs beforehand."""
    facts = plan.task.facts
    layers = network.recurrent_layers
    mitigations, instruments = config["choices"]["mitigation"], list(config["instrument"])
    measures_norms = tags.group(tags.HIDDEN_GRAD_NORM) in instruments
    scaling = [name for name, each in zip(mitigations, plan.mitigations, strict=True) if each.coefficient]
    absent = {
        "solved_fraction": facts.solved is None,
        "log10_gradient_at_information": not (facts.answer_at_end and measures_norms),
        "horizon": not facts.answer_at_end or tags.group(tags.HORIZON) not in instruments,
        "clip_coefficient": not scaling,
    }
    return RunFacts(
        layers=len(layers),
        states=len(layers[-1].recurrence.recorded),
        seq_len=facts.seq_len,
        informative_steps=facts.informative_steps,
        norms="total" if facts.answer_alone else "answer",
        mitigations=tuple(mitigations),
        asked=set(instruments) - set(on_by_default("instrument")),
        measures_norms=measures_norms,
        meanings=dict(ChainMap(*(dict(each.meanings) for each in (*plan.instruments, *plan.mitigations)))),
        scaled_by=scaling[0] if scaling else None,
        absent=[name for name, missing in absent.items() if missing],
    )


def hyperparameters(config: Mapping[str, Any], overrides: Sequence[str], seq_len: int) -> Hyperparameters:
    """Return the columns of TensorBoard's HParams page: chosen members, a few sizes, all single values set by hand.

    `seq_len` is the greatest length of a training sequence, in time steps.
    """
    choices, flat = config["choices"], dict(walk(config))
    columns: dict[str, str | float | bool] = {}
    for name in CHOSEN:
        chosen = choices[name]
        columns[name] = chosen if isinstance(chosen, str) else "+".join(chosen) or "none"
    for key in (*_ALWAYS, *_set_by_hand(overrides)):
        value = flat.get(key)
        if isinstance(value, str | int | float) and key not in columns:
            columns[key] = value
    return columns | {"seq_len": seq_len}


def chosen_columns(overrides: Sequence[str]) -> list[str]:
    """Return the hyperparameters that distinguish runs: those set by hand, or else model and mitigation."""
    return _set_by_hand(overrides) or ["model", "mitigation"]


def _set_by_hand(overrides: Sequence[str]) -> list[str]:
    keys = [override.lstrip("+").partition("=")[0] for override in overrides]
    return [key for key in keys if changes_figures(key)]
