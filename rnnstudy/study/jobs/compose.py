"""From a command line to the configurations of its runs, through Hydra; each is composed once."""

import itertools
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from rnnstudy.config.folder import conf_folder
from rnnstudy.core.errors import ConfigError
from rnnstudy.runs.groups import SINGLE
from rnnstudy.runs.job import Job
from rnnstudy.runs.settings import walk
from rnnstudy.study.jobs.hydra_errors import explain, explain_missing
from rnnstudy.study.jobs.hydra_internals import make_context, make_loader, parse_arguments

CONFIG = "config"

_TO_SEARCH = "To search, see rnnstudy tune --help."

Telling = Callable[[int, int], None]
"""Function called before each run with the number of runs done and of all."""

_INFORMATION_FLAGS = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--shell-completion", "--version"}


@dataclass(frozen=True, kw_only=True)
class Composition:
    """Runs that a command line asks for.

    Args:
        jobs: The runs, in order.
        is_sweep: Whether several may be asked for: with -m, or by an experiment that is a sweep.
        config: Hydra's configuration of the sweep, or of the single run.
        context: Context that Hydra's launchers need beside it.
    """

    jobs: list[Job]
    is_sweep: bool
    config: DictConfig
    context: HydraContext

    @property
    def launcher(self) -> str:
        """Name of the chosen launcher."""
        return str(self.config.hydra.runtime.choices["hydra/launcher"])


def wants_information(arguments: Sequence[str]) -> bool:
    """Return whether a command line asks Hydra about the configuration, and for no run."""
    return not _INFORMATION_FLAGS.isdisjoint(argument.partition("=")[0] for argument in arguments)


def inform(arguments: Sequence[str]) -> None:
    """Let Hydra answer a command line about the configuration, and exit; raise ConfigError for a fault."""
    main = hydra.main(config_path=str(conf_folder()), config_name=CONFIG, version_base="1.3")(lambda config: None)
    with _surroundings(arguments), _explaining_errors(arguments):
        main()


@contextmanager
def composing(arguments: Sequence[str], tell: Telling = lambda done, count: None) -> Iterator[Composition]:
    """Compose the runs of a command line, for Hydra to launch within the block; raise ConfigError for a fault."""
    with _surroundings(arguments):
        with _explaining_errors(arguments):
            composition = _compose(arguments, tell)
        yield composition


def compose_jobs(arguments: Sequence[str]) -> list[Job]:
    """Return the unchecked runs that overrides and flags of Hydra ask for; raise ConfigError for a fault."""
    with composing(arguments) as composition:
        return composition.jobs


def _compose(arguments: Sequence[str], tell: Telling) -> Composition:
    # Hydra does not recognise the flag of a sweep between overrides: put it in front.
    flags = [argument for argument in arguments if argument in {"-m", "--multirun"}]
    asked = parse_arguments(flags[:1] + [argument for argument in arguments if argument not in flags])
    for flag in ("config_path", "experimental_rerun", "resolve", "package"):
        if getattr(asked, flag):
            raise ConfigError(f"--{flag.replace('_', '-')} is not supported; --config-dir adds a folder to conf.")
    further = None if asked.config_dir is None else Path(asked.config_dir).absolute()
    if further is not None and not further.is_dir():
        raise ConfigError(f"--config-dir {asked.config_dir} is no folder.")
    loader = make_loader(conf_folder(), further)
    name = asked.config_name or CONFIG
    mode = ["hydra.mode=MULTIRUN"] if asked.multirun else []
    sweep = loader.load_configuration(name, [*asked.overrides, *mode], RunMode.MULTIRUN, validate_sweep_overrides=False)
    is_sweep = sweep.hydra.mode == RunMode.MULTIRUN
    if not is_sweep:
        sweep = loader.load_configuration(name, [*asked.overrides, "hydra.mode=RUN"], RunMode.RUN)
    _require_ours(sweep, is_sweep=is_sweep)
    configs = _each(loader, sweep, tell) if is_sweep else iter([sweep])
    return Composition(
        jobs=[_job(config) for config in configs], is_sweep=is_sweep, config=sweep, context=make_context(loader, sweep)
    )


def _require_ours(config: DictConfig, *, is_sweep: bool) -> None:
    """Raise ConfigError for another sweeper, or a launcher for a single run: neither would do as asked."""
    choices = config.hydra.runtime.choices
    if is_sweep and choices["hydra/sweeper"] != "basic":
        told = f"hydra/sweeper={choices['hydra/sweeper']} is not supported"
        raise ConfigError(f"{told}: runs are listed before the first one starts. {_TO_SEARCH}")
    if not is_sweep and choices["hydra/launcher"] != "basic":
        raise ConfigError(f"hydra/launcher={choices['hydra/launcher']} launches sweeps: add -m.")


def _each(loader: ConfigLoader, sweep: DictConfig, tell: Telling) -> Iterator[DictConfig]:
    """Yield the configuration of every combination in a sweep; raise ConfigError if there is none."""
    # References to other values are resolved in each run, not here with their defaults.
    params = cast(dict[str, Any], OmegaConf.to_container(sweep.hydra.sweeper.params or OmegaConf.create()))
    given = cast(list[str], OmegaConf.to_container(sweep.hydra.overrides.task))
    given = [*(f"{key}={value}" for key, value in params.items()), *given]
    listed: dict[str, list[str]] = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(given):
        key = override.get_key_element()
        if not override.is_sweep_override():
            listed[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            listed[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise ConfigError(f"{override.input_line} lists no values; give them, as in {key}=1,2. {_TO_SEARCH}")
    combinations = list(itertools.product(*listed.values()))
    if not combinations:
        raise ConfigError("The sweep has no runs: a range or a glob in it holds nothing.")
    for done, each in enumerate(combinations):
        tell(done, len(combinations))
        yield loader.load_sweep_config(sweep, list(each))


def _job(config: DictConfig) -> Job:
    """Return the job of a configuration; raise ConfigError for a missing value without a default."""
    # References to Hydra's own settings are resolved there.
    HydraConfig.instance().set_config(config)
    chosen: Mapping[str, Any] = config.hydra.runtime.choices
    ours = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        plain = cast(dict[str, Any], OmegaConf.to_container(ours, resolve=True, throw_on_missing=True))
    except MissingMandatoryValue as error:
        group = str(error.full_key).partition(".")[0]
        file = f"conf/{group}/{chosen.get(group)}.yaml"
        raise ConfigError(f"{error.full_key} has no default and must be given; {file} says what it is.") from None
    mitigations = list(plain.get("mitigation") or {})
    model = plain.get("model")
    inits = model.get("init") if isinstance(model, dict) else None
    inits = list(inits) if isinstance(inits, dict) else []
    choices = {group: chosen.get(group) for group in SINGLE}
    plain = {"choices": {**choices, "init": inits, "mitigation": mitigations}, **plain}
    name = f"{choices['model']} ({', '.join(inits)})" if inits else str(choices["model"])
    label = " + ".join([name, *mitigations])
    given, values = cast(list[str], OmegaConf.to_container(config.hydra.overrides.task)), dict(walk(plain))
    return Job(config=plain, overrides=[_resolved(each, values) for each in given], label=label)


def _resolved(override: str, values: Mapping[str, Any]) -> str:
    """Return an override that refers to other values with its value in the run; any other as it is."""
    key, _, value = override.partition("=")
    return f"{key}={values[key]}" if "$" in value and key in values else override


@contextmanager
def _surroundings(arguments: Sequence[str]) -> Iterator[None]:
    """Give Hydra its arguments, and make it raise errors instead of printing them and exiting."""
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = ["rnnstudy train", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with warnings.catch_warnings():
            # The presets in conf/hydra/launcher have the plugins' names: that the plugins check them is intended.
            warnings.filterwarnings("ignore", "\n.*is validated against ConfigStore schema")
            yield
    finally:
        sys.argv = argv
        if full_error is None:
            del os.environ["HYDRA_FULL_ERROR"]
        GlobalHydra.instance().clear()


@contextmanager
def _explaining_errors(arguments: Sequence[str]) -> Iterator[None]:
    """Turn Hydra's errors into a ConfigError of one line; a ValueError of any other kind stays."""
    try:
        yield
    except MissingConfigException as error:
        raise ConfigError(explain_missing(error)) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, arguments)) from None
    except ValueError as error:
        if str(error).startswith("Only one of"):
            raise ConfigError(f"{error}.") from None
        # Of Hydra's errors, this one alone has no class of its own.
        if isinstance(error, ConfigError) or "Config group override must be" not in str(error):
            raise
        wrong = " ".join(each for each in arguments if each.partition("=")[2] in {"null", "true", "false"})
        raise ConfigError(f"{wrong or 'A group'} must name a member of its group, such as task=adding.") from None


def first_job(arguments: Sequence[str]) -> Job:
    """Return the unchecked (in a sweep, the first) run that overrides ask for; raise ConfigError for a fault."""
    for argument in arguments:
        if argument.startswith("-"):
            raise ConfigError(f"{argument} is not known here: there is one run, and overrides.")
    return compose_jobs(arguments)[0]
