"""What the pages say of the tasks is what the code does."""

import math
import re
from pathlib import Path

import pytest
import torch
import yaml
from tools.members import members, plan

import rnnstudy.tasks
from rnnstudy.config.build import build
from rnnstudy.tasks.base import Task, stack

ROOT = Path(__file__).parents[2]


def table() -> dict[str, list[str]]:
    lines = (ROOT / "docs" / "tasks.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    return {row[0].strip("`"): row for row in rows}


@pytest.mark.parametrize("name", table())
def test_the_rows_have_the_figures_of_the_defaults(name):
    assert name in members("task")
    assert f"`{name}`" in (ROOT / "README.md").read_text()
    task = plan(f"task={name}").task
    *_, arguments, seq_len, chance_loss, chance_accuracy, memoryless = table()[name]
    assert int(seq_len) == task.facts.seq_len
    named = re.findall(r"`(\w+)`", arguments)
    assert set(named) <= set(type(task).__dataclass_fields__)
    if task.length_field is not None:
        assert named[0] == task.length_field
    if name != "text":
        assert chance_loss == f"{task.facts.chance_loss:.4g}"
        assert chance_accuracy == f"{task.facts.chance_accuracy:.4g}"
        assert memoryless == f"{task.facts.memoryless_loss:.4g}"


def test_the_task_that_the_readme_adds_works(tmp_path, monkeypatch):
    readme = (ROOT / "README.md").read_text()
    section = readme.partition("## Adding a task")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    (node,) = re.findall(r"```yaml\n(.*?)```", section, flags=re.DOTALL)
    config = yaml.safe_load(node)
    module = config["_target_"].split(".")[-2]
    assert f"rnnstudy/tasks/{module}.py" in section
    assert f"conf/task/{module}.yaml" in section
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.setattr(rnnstudy.tasks, "__path__", [*rnnstudy.tasks.__path__, str(tmp_path)])
    task = build(config, Task, path="task")
    batch = stack([task.sample(500, torch.Generator().manual_seed(0))])
    right = torch.nn.functional.one_hot(batch.targets, task.facts.output_size).float() * 50
    assert float(task.metrics(right, batch)["accuracy"]) == 1
    assert math.isclose(task.facts.chance_accuracy, 0.5)
    assert len(task.with_seq_len(9).sample(2, torch.Generator()).inputs) == 9
