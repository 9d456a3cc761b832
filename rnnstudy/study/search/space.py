"""Search space of `rnnstudy tune`: a yaml file with keys of the configuration and the values to try."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rnnstudy.config.build import build_section
from rnnstudy.config.folder import conf_folder
from rnnstudy.core.errors import ConfigError, require_at_least, require_finite, suggest
from rnnstudy.runs.untrusted import read_regular

Value = bool | int | float | str

STEPS_TO_SOLVE = "steps_to_solve"
"""The only figure to search by that is not a tag of the log."""


@dataclass(frozen=True, kw_only=True)
class Values:
    """Values of one key: a list of choices, or numbers from low to high.

    Args:
        choices: Values as on the command line, such as "[clip_norm]".
        low: Least number; if this and `high` are whole numbers, so are all.
        high: Greatest number.
        step: Step between two numbers; None for any (1 for whole numbers).
        log: Whether to sample orders of magnitude evenly.
    """

    choices: list[Value] | None = None
    low: int | float | None = None
    high: int | float | None = None
    step: int | float | None = None
    log: bool = False

    def __post_init__(self) -> None:
        if self.choices is not None:
            if not self.choices:
                raise ConfigError("choices must hold at least one value, got [].")
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ConfigError("choices goes with none of low, high, step, log.")
            return
        if self.low is None or self.high is None:
            raise ConfigError("low and high must both be given, or choices.")
        require_finite("low", self.low)
        require_finite("high", self.high)
        if not self.low < self.high:
            raise ConfigError(f"low must be below high, got {self.low} and {self.high}.")
        if self.log and not self.low > 0:
            raise ConfigError(f"low must be above 0 with log, got {self.low}.")
        if self.step is not None and (self.log or not self.step > 0):
            raise ConfigError(f"step must be above 0 and goes without log, got {self.step}.")

    @property
    def first(self) -> Value:
        """One of the values."""
        value = self.low if self.choices is None else self.choices[0]
        assert value is not None
        return value

    @property
    def others(self) -> list[Value]:
        """Other choices, or the greatest number that may be tried."""
        if self.choices is not None:
            return self.choices[1:]
        assert self.low is not None
        assert self.high is not None
        step = self.step or 0
        return [self.low + (self.high - self.low) // step * step if step else self.high]


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """Rule that gives up hopeless runs: those worse, at an evaluation, than the median of the runs before.

    Args:
        after: Optimizer steps before which no run is given up.
        startup_trials: Finished runs before which no run is given up.
    """

    after: int = 0
    startup_trials: int = 5

    def __post_init__(self) -> None:
        require_at_least("after", self.after, 0)
        require_at_least("startup_trials", self.startup_trials, 1)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Search of a space.

    Args:
        space: Keys of the configuration with the values to try.
        metric: "steps_to_solve", or a tag of the log, such as "eval/loss", whose last figure counts.
        direction: Whether to minimize or maximize it.
        trials: Number of runs, those given up included.
        prune: Rule for giving up runs; null for never.
    """

    space: dict[str, Values]
    metric: str = STEPS_TO_SOLVE
    direction: str = "minimize"
    trials: int = 40
    prune: Pruning | None = field(default_factory=Pruning)

    def __post_init__(self) -> None:
        require_at_least("trials", self.trials, 1)
        if not self.space:
            raise ConfigError("space must hold at least one key of the configuration, got none.")
        if self.direction not in {"minimize", "maximize"}:
            raise ConfigError(f"direction must be minimize or maximize, got '{self.direction}'.")
        if self.metric != STEPS_TO_SOLVE and "/" not in self.metric:
            rule = f"{STEPS_TO_SOLVE} or a tag of the log, such as eval/loss"
            raise ConfigError(f"metric must be {rule}, got '{self.metric}'.")
        if self.metric == STEPS_TO_SOLVE and self.direction == "maximize":
            raise ConfigError("direction must be minimize with metric=steps_to_solve, got 'maximize'.")


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Search, with what all its trials share.

    Args:
        name: Name of the search.
        search: Its space and figure.
        overrides: Fixed settings, as on the command line of `rnnstudy train`.
    """

    name: str
    search: Search
    overrides: Sequence[str]

    def arguments(self, values: Mapping[str, Value]) -> list[str]:
        """Return the command line of the run with some values."""
        return [*self.overrides, *(f"{key}={_written(value)}" for key, value in values.items())]


def _written(value: Value) -> str:
    # Four digits are as good as seventeen, and legible in the name of a folder.
    return str(value).lower() if isinstance(value, bool) else shown(value)


def shown(value: object) -> str:
    """Return a value for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def read_search(name: str) -> tuple[str, Search]:
    """Return the name of a search and the search, from a file in conf/search or the path of a yaml file.

    Raises:
        ConfigError: The file is missing, or something in it is wrong.
    """
    own = conf_folder() / "search"
    path = Path(name) if name.endswith((".yaml", ".yml")) else own / f"{name}.yaml"
    try:
        content = yaml.safe_load(read_regular(path))
    except FileNotFoundError:
        meant = suggest(name, [each.stem for each in own.glob("*.yaml")])
        raise ConfigError(f"There is no search '{name}'. {meant} Or give the path of a .yaml file.") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    return path.stem, build_search(content, str(path))


def build_search(content: Any, path: str) -> Search:
    """Return the search in the content of the yaml file at `path`; raise ConfigError for a fault."""
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path} must be a mapping with the keys of a search, such as space.")
    space = content.get("space")
    if not isinstance(space, Mapping):
        raise ConfigError(f"{path}: space must map keys of the configuration to their values, got {space!r}.")
    try:
        values = {str(key): build_section(Values, node, path=f"space.{key}") for key, node in space.items()}
        prune = content.get("prune", {})
        pruning = None if prune is None else build_section(Pruning, prune, path="prune")
        return build_section(Search, {**content, "space": values, "prune": pruning}, path="")
    except ConfigError as error:
        raise ConfigError(f"{path}: {str(error).removeprefix('.')}") from None
