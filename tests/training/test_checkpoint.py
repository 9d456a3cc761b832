import subprocess
import sys

import pytest
import torch
from typing_extensions import override

from rnnstudy.training.checkpoint import Checkpoints


def save(folder, *steps: int) -> Checkpoints:
    checkpoints = Checkpoints(folder / "checkpoints", kept=2)
    for step in steps:
        checkpoints.save(step, {"step": step, "weights": torch.full((3,), float(step))})
    return checkpoints


def test_the_newest_is_loaded_and_two_are_kept(tmp_path):
    checkpoints = save(tmp_path, 5, 10, 100)
    content, damaged = checkpoints.load()
    assert content is not None
    assert content["step"] == 100
    assert torch.equal(content["weights"], torch.full((3,), 100.0))
    assert damaged == []
    assert sorted(path.name for path in (tmp_path / "checkpoints").glob("*.pt")) == [
        "step_000000010.pt",
        "step_000000100.pt",
    ]


def test_a_checkpoint_outlives_the_failed_attempt_to_save_its_step_again(tmp_path):
    checkpoints = save(tmp_path, 5, 10)
    blocked = tmp_path / "checkpoints" / "step_000000010.pt.part"
    blocked.mkdir()
    for _ in range(2):
        with pytest.raises(OSError, match="directory"):
            checkpoints.save(10, {"step": 10, "weights": torch.zeros(3)})
        content, damaged = checkpoints.load()
        assert damaged == []
        assert content is not None
        assert torch.equal(content["weights"], torch.full((3,), 10.0))
    blocked.rmdir()
    checkpoints.save(10, {"step": 10, "weights": torch.zeros(3)})
    content, _ = checkpoints.load()
    assert content is not None
    assert torch.equal(content["weights"], torch.zeros(3))


def test_none(tmp_path):
    assert Checkpoints(tmp_path / "nowhere").load() == (None, [])


@pytest.mark.parametrize("damage", ["truncate", "empty", "flip", "no digest", "wrong digest"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_is_used(tmp_path, damage):
    checkpoints = save(tmp_path, 5, 10)
    path = tmp_path / "checkpoints" / "step_000000010.pt"
    digest = path.with_suffix(".pt.sha256")
    data = bytearray(path.read_bytes())
    match damage:
        case "truncate":
            path.write_bytes(data[: len(data) // 2])
        case "empty":
            path.write_bytes(b"")
        case "flip":
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        case "no digest":
            digest.unlink()
        case "wrong digest":
            digest.write_text("0" * 64)
    content, damaged = checkpoints.load()
    assert content is not None
    assert content["step"] == 5
    assert damaged == [path]
    checkpoints.drop(path)
    assert checkpoints.load()[1] == []


class Hostile:
    @override
    def __reduce__(self):
        return (exec, ("raise SystemExit('code was run')",))


def test_no_code_in_a_checkpoint_is_run(tmp_path):
    checkpoints = save(tmp_path, 5)
    checkpoints.save(10, {"step": Hostile()})
    with pytest.raises(SystemExit):
        torch.load(tmp_path / "checkpoints" / "step_000000010.pt", weights_only=False)
    content, damaged = checkpoints.load()
    assert content is not None
    assert content["step"] == 5
    assert [path.name for path in damaged] == ["step_000000010.pt"]


UNREADABLE = """
import os, sys
from pathlib import Path
from rnnstudy.core.errors import RnnstudyError
from rnnstudy.training.checkpoint import Checkpoints
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    Checkpoints(Path("checkpoints"), kept=2).load()
except RnnstudyError as error:
    print(error)
"""


def test_one_that_cannot_be_read_now_is_not_taken_for_damaged(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", kept=2)
    for step in (5, 10):
        checkpoints.save(step, {"step": step})
    tmp_path.chmod(0o755)
    newest = tmp_path / "checkpoints" / "step_000000010.pt"
    newest.chmod(0)
    done = subprocess.run([sys.executable, "-c", UNREADABLE, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout == "checkpoints/step_000000010.pt cannot be read: Permission denied. It is kept; try again.\n"
    newest.chmod(0o644)
    content, damaged = checkpoints.load()
    assert (content, damaged) == ({"step": 10}, [])
