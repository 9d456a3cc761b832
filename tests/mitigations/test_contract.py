"""What every mitigation must keep, found by its yaml file."""

import pytest
import torch
from tools.members import members, run_small

from rnnstudy.writers.run_log import RunLog

MITIGATIONS = members("mitigation")


@pytest.mark.parametrize("model", members("model"))
@pytest.mark.parametrize("task", members("task"))
@pytest.mark.parametrize("name", MITIGATIONS)
def test_trains_finitely_with_every_model_and_task(tmp_path, name, task, model):
    folder = run_small(
        tmp_path / "run", f"mitigation=[{name}]", f"task={task}", f"model={model}", "train.num_steps=2", "replicas=2"
    )
    log = RunLog(folder)
    losses = [record["eval/loss"] for record in log.metrics() if "eval/loss" in record]
    log.close()
    assert len(losses) == 4
    assert torch.tensor(losses).isfinite().all()
