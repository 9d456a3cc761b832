"""Everything used of Hydra beyond its public interface, and the versions for which it was tested."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.types import HydraContext
from omegaconf import DictConfig

TRIED = ("1.3.8",)
"""Versions of Hydra that have the imports above."""


def parse_arguments(arguments: Sequence[str]) -> Namespace:
    """Parse a command line as Hydra's own programs do."""
    return get_args_parser().parse_args(list(arguments))


def make_loader(folder: Path, further: Path | None) -> ConfigLoader:
    """Make a loader of configurations from the files of a folder, and of a further one if given."""
    search_path = create_config_search_path(str(folder))
    if further is not None:
        search_path.prepend("command-line", f"file://{further}", SearchPathQuery(provider="schema"))
    return Hydra.create_main_hydra2(task_name="rnnstudy", config_search_path=search_path).config_loader


def make_context(loader: ConfigLoader, config: DictConfig) -> HydraContext:
    """Make the context that Hydra's launchers need beside a configuration."""
    return HydraContext(config_loader=loader, callbacks=Callbacks(config))
