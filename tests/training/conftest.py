"""Runs in progress, to look into and to disturb."""

import pytest
from tools.training import training_in

from rnnstudy.training.loop import Training


@pytest.fixture
def start(tmp_path):
    """Makes runs below `tmp_path`, and closes their logs at the end."""
    made: list[Training] = []

    def begin(name: str, seed: int, replicas: int, *overrides: str) -> Training:
        made.append(training_in(tmp_path / name, seed, replicas, *overrides))
        return made[-1]

    yield begin
    for training in made:
        training.outlets.log.close()
