import json

import pytest

from rnnstudy.core.run_folder import RunFolder, write_atomically, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    (tmp_path / "result.json.part").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(path, b"new")
    (tmp_path / "result.json.part").rmdir()
    assert json.loads(path.read_text()) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_a_run_is_finished_when_it_has_a_result(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.is_finished
    write_json(folder.result, {})
    assert folder.is_finished
