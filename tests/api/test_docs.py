"""The examples in the pages run as they stand."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]


def executed(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(block, names)
    return names


@pytest.mark.slow
def test_the_page_about_python(tmp_path, monkeypatch):
    names = executed((ROOT / "docs" / "python.md").read_text(), tmp_path, monkeypatch)
    assert names["run"].settings["optimizer"] == "sgd"
    assert [(run.settings["model"], run.settings["task.seq_len"]) for run in names["runs"]] == [
        ("gru", 10),
        ("gru", 20),
        ("lstm", 10),
        ("lstm", 20),
    ]
    forward = names["lstm"](names["inputs"][:, None].expand(-1, 8, -1, -1), torch.tensor([19]))
    torch.testing.assert_close(names["answer"], forward.outputs[0, 3])
    assert len(names["compared"].table) == 2
    assert names["page"].is_file()


@pytest.mark.slow
def test_the_section_of_the_readme(tmp_path, monkeypatch):
    readme = (ROOT / "README.md").read_text()
    section = readme.partition("## From Python")[2].partition("\n## ")[0]
    names = executed(section, tmp_path, monkeypatch)
    assert isinstance(names["module"], torch.nn.LSTM)
    assert names["norms"].shape == (20, 8, 64)
    assert set(names["compared"].comparisons["baseline"]) == {"gru", "lstm"}
    assert len(names["frame"]) > 8
