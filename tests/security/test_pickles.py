"""Nothing in a checkpoint is run: a pickle may name any function, with arguments."""

import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from tools.members import compose, run_small
from typing_extensions import override

from rnnstudy.core.errors import RnnstudyError
from rnnstudy.study.run.load import load_run
from rnnstudy.training.checkpoint import Checkpoints


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    @override
    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def place(folder: Path, data: bytes, step: int = 999) -> None:
    """A checkpoint as a stranger would make it: its digest is right."""
    folder.mkdir(exist_ok=True)
    path = folder / f"step_{step:09d}.pt"
    path.write_bytes(data)
    path.with_suffix(".pt.sha256").write_text(hashlib.sha256(data).hexdigest())


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def hostile(target: Path) -> dict[str, bytes]:
    old_format = io.BytesIO()
    torch.save({"step": Malicious(target)}, old_format, _use_new_zipfile_serialization=False)
    return {
        "archive": saved({"network": {}, "step": Malicious(target)}),
        "old format": old_format.getvalue(),
        "bare pickle": pickle.dumps(Malicious(target)),
    }


@pytest.mark.parametrize("kind", ["archive", "old format", "bare pickle"])
def test_a_malicious_checkpoint_is_passed_over_and_runs_nothing(tmp_path, kind):
    target = tmp_path / "made by the pickle"
    data = hostile(target)[kind]
    place(tmp_path / "checkpoints", data)
    content, damaged = Checkpoints(tmp_path / "checkpoints").load()
    assert content is None
    assert len(damaged) == 1
    assert not target.exists()


def test_the_archive_would_run_code_if_it_were_loaded_without_care(tmp_path):
    target = tmp_path / "made by the pickle"
    torch.load(io.BytesIO(hostile(target)["archive"]), weights_only=False)
    assert target.exists()


def test_theory_and_train_on_a_malicious_checkpoint(tmp_path):
    target = tmp_path / "made by the pickle"
    folder = run_small(tmp_path / "run")
    place(folder.checkpoints, hostile(target)["archive"])
    with pytest.raises(RnnstudyError, match="the checkpoint of step 999 is damaged"):
        load_run(folder.path)
    folder.result.unlink()
    # Goes on from the last whole one.
    assert run_small(tmp_path / "run").is_finished
    assert not target.exists()


def packed(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as sink:
        for entry in source.infolist():
            sink.writestr(entry.filename, source.read(entry))
    return packed.getvalue()


def test_a_checkpoint_that_unpacks_to_more_than_itself_is_not_unpacked(tmp_path):
    bomb = packed(saved({"network": torch.zeros(1_000_000)}))
    assert len(bomb) < 20_000
    # Torch itself would unpack it.
    assert len(torch.load(io.BytesIO(bomb), weights_only=True)["network"]) == 1_000_000
    place(tmp_path / "checkpoints", bomb)
    assert Checkpoints(tmp_path / "checkpoints").load()[0] is None


def test_a_plain_checkpoint_by_the_same_way_is_loaded(tmp_path):
    place(tmp_path / "checkpoints", saved({"step": 3}))
    assert Checkpoints(tmp_path / "checkpoints").load() == ({"step": 3}, [])


def test_a_run_over_another_file_than_it_read_is_not_looked_at(tmp_path):
    text = tmp_path / "own.txt"
    text.write_text("some text of one's own, and some more. " * 20)
    folder = run_small(tmp_path / "run", "task=text", f"task.path='{text}'", "task.seq_len=8")
    assert load_run(folder.path).step == compose("train.num_steps=12")["train"]["num_steps"]
    private = tmp_path / "private.txt"
    private.write_text("nobody else's business, for certain. " * 20)
    folder.config.write_text(folder.config.read_text().replace(str(text), str(private)))
    with pytest.raises(RnnstudyError, match="is not the one that the run read") as caught:
        load_run(folder.path)
    assert "business" not in str(caught.value)
    folder.manifest.unlink()
    with pytest.raises(RnnstudyError, match="is not the one that the run read"):
        load_run(folder.path)
