"""Networks from Python."""

import torch

from rnnstudy.core.errors import require_at_least
from rnnstudy.core.seeding import replica_generators
from rnnstudy.models.base import Model, Network
from rnnstudy.study.run.assemble import interface_of
from rnnstudy.tasks.base import Task


def build(model: Model, task: Task, *, replicas: int = 8, seed: int = 0, dtype: torch.dtype = torch.float32) -> Network:
    """Build untrained networks for a task: those that a run with this seed starts from.

    >>> import rnnstudy as rs
    >>> task = rs.tasks.Adding(seq_len=100)
    >>> network = rs.build(rs.models.LSTM(hidden_size=32), task, replicas=8, seed=0)
    >>> network.readout_weight.shape  # (replica, output, hidden)
    torch.Size([8, 1, 32])

    Args:
        model: Settings of the network.
        task: Problem that decides the inputs and outputs.
        replicas: Networks side by side, each with its own weights, at least 1.
        seed: Seed of replica 0; replica r uses `seed + r`, so it doesn't depend on the number of replicas.
        dtype: Precision of the weights.

    Returns:
        The networks as one module. Every parameter has the replica axis first.

    Raises:
        ConfigError: `replicas` or `seed` is out of range.
    """
    require_at_least("replicas", replicas, 1)
    require_at_least("seed", seed, 0)
    return model.build(interface_of(task), replica_generators(seed, replicas, "init"), dtype)
