"""Choosing runs by their settings, sorting and grouping them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import yaml

from rnnstudy.core.errors import ConfigError, suggest
from rnnstudy.report.analysis.naming import ABSENT, differing_settings, natural
from rnnstudy.report.analysis.phrases import some
from rnnstudy.report.analysis.summary import Summary
from rnnstudy.report.tables.by_run import ordering
from rnnstudy.runs.labels import short_labels
from rnnstudy.runs.run import Run
from rnnstudy.runs.settings import show_members, show_value

_MOST_VALUES = 12  # that an error lists
_SEPARATOR = re.compile(r",(?![^\[]*\])")  # a comma outside of square brackets
_KEY = re.compile(r"\s*([\w.]+)\s*=\s*(.*)", re.DOTALL)

Configured = Run | Summary
"""A run or its summary: chosen members by group, and settings by path."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs in one section of the table.

    Args:
        title: Value of the settings that group them, e.g. "lag=100"; empty where there is only one group.
        summaries: Rows, sorted.
    """

    title: str
    summaries: tuple[Summary, ...]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A setting has one of some values.

    Args:
        key: Dotted path of a setting, or a group from which a member is chosen.
        values: Values as settings are shown.
        text: Condition as given.
    """

    key: str
    values: tuple[str, ...]
    text: str

    def is_met_by(self, run: Configured) -> bool:
        """Return whether the run has one of the values."""
        return any(_same(value_of(run, self.key), value) for value in self.values)

    def covers(self, key: str) -> bool:
        """Return whether a setting is the condition's own, or below its group."""
        below = (f"{self.key}.", "model.init.") if self.key == "init" else (f"{self.key}.",)
        return key == self.key or key.startswith(below)


def value_of(run: Configured, key: str) -> str:
    """Return a run's value of a setting, or its chosen members of a group; ABSENT without any."""
    return run.choices[key] if key in run.choices else run.settings.get(key, ABSENT)


def read_conditions(given: Sequence[str], runs: Sequence[Configured], *, option: str) -> list[Condition]:
    """Return conditions such as `task.lag=100`, `model=lstm,gru` or `mitigation=[]`; a run must meet all.

    Commas separate conditions, and values of one setting. The last parts of a path suffice if no other path ends so.
    Numbers are compared as numbers. Errors begin with `option`, which the user wrote before the conditions.

    Raises:
        ConfigError: A condition is not of this form, or is about a setting or a value that no run has.
    """
    found: list[tuple[str, list[str]]] = []
    for part in (part for each in given for part in _SEPARATOR.split(each)):
        if match := _KEY.fullmatch(part):
            found.append((match[1], [match[2].strip()]))
        elif found:
            found[-1][1].append(part.strip())
        else:
            raise ConfigError(f"{option} takes KEY=VALUE, such as task.lag=100 or mitigation=[], got '{part}'.")
    return [_condition(key, values, runs, option=option) for key, values in found]


def find_key(given: str, runs: Sequence[Configured], *, option: str) -> str:
    """Return the dotted path of a setting, or a group of members; raise ConfigError if none or several match."""
    keys = list(dict.fromkeys(key for run in runs for key in (*run.choices, *run.settings)))
    if given in keys:
        return given
    ending = [key for key in keys if key.endswith(f".{given}")]
    if len(ending) > 1:
        raise ConfigError(f"{option}: '{given}' may be {' or '.join(sorted(ending))}; write more of it.")
    if not ending:
        close = get_close_matches(given, [*keys, *(key.rpartition(".")[2] for key in keys)], n=1)
        offered = {*runs[0].choices, *differing_settings([run.settings for run in runs]), *close}
        raise ConfigError(f"{option}: no run has a setting '{given}'. {suggest(given, offered)}")
    return ending[0]


def sort_rows(summaries: Sequence[Summary], given: Sequence[str]) -> list[Summary]:
    """Return the rows sorted by headers or settings, the most important first; rows without a figure come last.

    With ":desc" behind a header or setting, the largest comes first.

    Raises:
        ConfigError: There is no such column or setting.
    """
    rows = list(summaries)
    orders = ordering(summaries)
    for each in reversed(given):
        name, _, direction = each.rpartition(":") if each.endswith((":desc", ":asc")) else (each, "", "asc")
        descending = direction == "desc"
        if order := orders.get(name):
            figures = {id(row): (-1 if descending else 1) * order(row) for row in rows}
            rows.sort(key=lambda row: (figures[id(row)] != figures[id(row)], figures[id(row)]))
        else:
            try:
                key = find_key(name, summaries, option="--sort")
            except ConfigError as error:
                raise ConfigError(f"{error} Columns: {', '.join(orders)}.") from None
            rows.sort(key=lambda row: natural(value_of(row, key)), reverse=descending)
    return rows


def group_rows(summaries: Sequence[Summary], given: Sequence[str]) -> tuple[Group, ...]:
    """Return rows grouped by settings, by order of value, then of row; raise ConfigError for an unknown setting."""
    keys = [find_key(each, summaries, option="--group-by") for each in given]
    labels = short_labels(keys)
    groups: dict[tuple[str, ...], list[Summary]] = {}
    for summary in summaries:
        groups.setdefault(tuple(value_of(summary, key) for key in keys), []).append(summary)
    return tuple(
        Group(
            title=", ".join(f"{labels[key]}={value}" for key, value in zip(keys, values, strict=True)),
            summaries=tuple(members),
        )
        for values, members in sorted(groups.items(), key=lambda group: [natural(value) for value in group[0]])
    )


def _condition(given: str, values: Sequence[str], runs: Sequence[Configured], *, option: str) -> Condition:
    key = find_key(given, runs, option=option)
    there = dict.fromkeys(value_of(run, key) for run in runs)
    is_group = any(key in run.choices for run in runs)
    shown = tuple(_show_given(value, is_group=is_group) for value in values)
    for value, as_given in zip(shown, values, strict=True):
        if not any(_same(each, value) for each in there):
            known = sorted((each for each in there if each != ABSENT), key=natural)
            raise ConfigError(f"{option}: no run has {key}={as_given}. There are: {some(known, _MOST_VALUES)}.")
    return Condition(key=key, values=shown, text=f"{given}={','.join(values)}")


def _show_given(text: str, *, is_group: bool) -> str:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return show_members(value) if is_group else show_value(value)


def _same(shown: str, wanted: str) -> bool:
    try:
        return shown == wanted or float(shown) == float(wanted)
    except ValueError:
        return False
