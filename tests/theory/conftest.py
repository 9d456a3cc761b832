"""Small trained networks that the topics of theory are about."""

import pytest
from tools.members import run_small

from rnnstudy.gradients.trajectories import Drive
from rnnstudy.study.run.load import load_run
from rnnstudy.theory.measures.networks import run_subject

TASKS = {
    "review": (),
    "end": ("task=adding", "task.seq_len=7", "model.num_layers=2"),
    "every": ("task=copy_memory", "task.delay=3", "task.num_symbols=2", "model.num_layers=2"),
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Subjects of small runs by model, task and further settings; every run is trained once."""
    found = {}

    def of(model, task, *more, replica=1, seq_len=None, drive: Drive = "task"):
        key = (model, task, *more)
        if key not in found:
            folder = tmp_path_factory.mktemp("runs") / "run"
            found[key] = load_run(run_small(folder, f"model={model}", "train.num_steps=3", *TASKS[task], *more).path)
        return run_subject(found[key], replica=replica, seq_len=seq_len, drive=drive)

    return of
