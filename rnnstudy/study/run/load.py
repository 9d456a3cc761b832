"""Network of a run, read from its folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rnnstudy.config.schema import Plan
from rnnstudy.core.errors import ConfigError, RnnstudyError
from rnnstudy.models.base import Network
from rnnstudy.runs.folder import RunFolder
from rnnstudy.runs.untrusted import find_mapping, read_yaml
from rnnstudy.study.jobs.check import check
from rnnstudy.study.run.assemble import assemble
from rnnstudy.training.checkpoint import Checkpoints


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A run at one of its checkpoints.

    Attributes:
        folder: Folder of the run.
        plan: Plan of its configuration.
        model: Name of its model.
        network: Network with the weights of the checkpoint, on the CPU.
        step: Optimizer steps done by then.
    """

    folder: RunFolder
    plan: Plan
    model: str
    network: Network
    step: int


def load_run(path: Path, step: int | None = None) -> Loaded:
    """Return a run from its folder, after `step` optimizer steps (None: the last checkpoint); run no code in it.

    Raises:
        RnnstudyError: It is not a run, has no such checkpoint, or one that does not fit its configuration.
    """
    folder = RunFolder(path)
    if not folder.config.is_file():
        raise RnnstudyError(f"'{path}' is no run folder: it has no config.yaml. Runs are made by: rnnstudy train")
    plan, model = _read_config(folder)
    _require_same_data(folder, plan)
    content, found = _read_checkpoint(folder, step)
    network = assemble(plan, torch.device("cpu")).network
    _fill(network, content, f"{folder.checkpoints}, step {found}")
    return Loaded(folder=folder, plan=plan, model=model, network=network, step=found)


def _read_config(folder: RunFolder) -> tuple[Plan, str]:
    """Return the plan of a run and the name of its model; raise RnnstudyError if config.yaml cannot be used."""
    try:
        config = read_yaml(folder.config)
    except (OSError, ValueError) as error:
        raise RnnstudyError(f"{folder.config} cannot be read ({error}).") from None
    if not isinstance(config, dict):
        raise RnnstudyError(f"{folder.config} is not the configuration of a run.")
    try:
        # The device on which it ran does not matter here.
        plan = check({**config, "device": "cpu"})
    except ConfigError as error:
        raise ConfigError(f"{folder.config}: {error}") from None
    choices = config.get("choices")
    return plan, str(choices.get("model", "network")) if isinstance(choices, dict) else "network"


def _require_same_data(folder: RunFolder, plan: Plan) -> None:
    """Raise RnnstudyError unless the run read this very file: a stranger's may name any file of this machine."""
    digest = plan.task.data_digest
    if digest is not None and (find_mapping(folder.manifest) or {}).get("data_digest") != digest:
        told = f"{folder.path}: the file that its task.path names on this machine is not the one that the run read."
        raise RnnstudyError(f"{told} Put that one there to look at the run.")


def _read_checkpoint(folder: RunFolder, step: int | None) -> tuple[dict[str, Any], int]:
    """Return the content of a checkpoint and its step; raise RnnstudyError if it is missing or damaged."""
    checkpoints = Checkpoints(folder.checkpoints)
    saved = checkpoints.steps()
    if not saved:
        when = "they are saved every train.checkpoint_interval steps"
        raise RnnstudyError(f"{folder.path} has no checkpoint yet; {when}.")
    wanted = saved[-1] if step is None else step
    if wanted not in saved:
        listed = f"it has {', '.join(map(str, saved))}. train.kept_checkpoints=null keeps all."
        raise RnnstudyError(f"{folder.path} has no checkpoint of step {wanted}; {listed}")
    content = checkpoints.load_step(wanted)
    if content is None:
        others = ", ".join(str(each) for each in saved if each != wanted)
        way_out = f"others are {others}" if others else "there is no other"
        raise RnnstudyError(f"{folder.path}: the checkpoint of step {wanted} is damaged; {way_out}.")
    return content, wanted


def _fill(network: Network, content: dict[str, Any], where: str) -> None:
    """Load a checkpoint's weights into a network; raise RnnstudyError if they are those of another model."""
    state = content.get("network")
    own = network.state_dict()
    if not isinstance(state, dict) or not all(isinstance(weight, torch.Tensor) for weight in state.values()):
        raise RnnstudyError(f"{where}: this is no checkpoint of a run.")
    for name in [*own, *state]:
        ours, theirs = (tuple(weights[name].shape) if name in weights else "none" for weights in (own, state))
        if ours != theirs:
            told = f"{where} holds weights of another model than config.yaml describes"
            raise RnnstudyError(f"{told}: {name} has the shape {theirs} there, {ours} is wanted.")
        if own[name].dtype != state[name].dtype:
            raise RnnstudyError(f"{where}: {name} must hold {own[name].dtype}, got {state[name].dtype}.")
    network.load_state_dict(state)
